"""A deadline on a real event loop: the last one that was set is acted on, unless it is called off."""

import asyncio

from healthrisk.serving.deadline import Deadline


def test_the_last_one_that_was_set_is_acted_on_unless_it_is_called_off() -> None:
    done: list[str] = []

    async def act() -> None:
        replaced, called_off = Deadline(), Deadline()
        replaced.set(0, done.append, "first")
        replaced.set(0, done.append, "last")
        called_off.set(0, done.append, "called off")
        assert called_off.is_set
        called_off.cancel()
        called_off.cancel()
        assert not called_off.is_set
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, over.set)
        await over.wait()

    asyncio.run(act())
    assert done == ["last"]
