"""Work on what is large is done beside the event loop, one after the other."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import nullcontext

import psutil
import pytest

from healthrisk.serving.admission import AdmissionController, Limits
from healthrisk.serving.errors import RequestError, bad_request
from tests.support.patience import ANSWER

LARGE, SMALL = 2**23, 2**10


def test_the_loop_goes_on_while_something_large_is_worked_on() -> None:
    async def answer_meanwhile() -> bool:
        answered = threading.Event()
        working = asyncio.create_task(AdmissionController(Limits()).work(LARGE, lambda: answered.wait(ANSWER)))
        await asyncio.sleep(0)
        answered.set()
        return await working

    assert asyncio.run(answer_meanwhile())


def test_what_is_small_is_done_at_once() -> None:
    async def thread() -> int:
        return await AdmissionController(Limits()).work(SMALL, threading.get_ident)

    assert asyncio.run(thread()) == threading.get_ident()


def test_only_one_large_thing_is_worked_on_even_where_nobody_waits_for_it_any_more() -> None:
    """A client that leaves cancels its call: what was begun for it ends before the next begins."""
    at_work, most, begun, go_on = 0, 0, threading.Event(), threading.Event()

    def count(wait: Callable[[], object]) -> Callable[[], None]:
        def work() -> None:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            begun.set()
            wait()
            at_work -= 1

        return work

    async def leave() -> None:
        admission = AdmissionController(Limits())
        left = asyncio.create_task(admission.work(LARGE, count(lambda: go_on.wait(ANSWER))))
        await asyncio.to_thread(begun.wait, ANSWER)
        left.cancel()
        others = [asyncio.create_task(admission.work(LARGE, count(lambda: None))) for _ in range(3)]
        await asyncio.sleep(0.2)
        go_on.set()
        await asyncio.gather(*others)

    asyncio.run(leave())
    assert (at_work, most) == (0, 1)


@pytest.mark.parametrize("refused", [False, True])
def test_what_large_work_frees_is_given_back(refused: bool) -> None:
    """Blocks that stay in use among those that are freed keep none of the others in the process."""
    size, count, every, stay = 1000, 200_000, 1000, []

    def work() -> None:
        blocks = [bytes(size) for _ in range(count)]
        stay.extend(blocks[::every])
        try:
            blocks[count]
        except IndexError as error:
            if refused:
                raise bad_request("bad_request", "too many") from error

    async def grown() -> int:
        before, refusals = psutil.Process().memory_info().rss, pytest.raises(RequestError)
        with refusals if refused else nullcontext():
            await AdmissionController(Limits()).work(LARGE, work)
        return psutil.Process().memory_info().rss - before

    assert asyncio.run(grown()) < size * count / 4
