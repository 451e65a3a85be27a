"""Large requests are read in processes of their own: whatever becomes of these, the server goes on."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from healthrisk.serving.admission import Limits
from healthrisk.serving.errors import Fault, RequestError, ValueRefusedError
from healthrisk.serving.reader_process import ReaderProcess
from healthrisk.serving.reading import Read
from healthrisk.serving.tensors import Matrix, Request
from tests.support.patience import ANSWER, until
from tests.support.servers import Server, free_ports

LARGE_ROWS = 20_000


@contextmanager
def forked(read: Read, limits: Limits = Limits()) -> Iterator[ReaderProcess]:  # noqa: B008 - frozen
    before = set(psutil.Process().children())
    reader = ReaderProcess({"any": read}, limits)
    (process,) = set(psutil.Process().children()) - before
    try:
        yield reader
    finally:
        reader.close()
        process.wait(ANSWER)


def once(reader: ReaderProcess, raw: bytes = b"{}", json_length: int | None = None) -> tuple[Request, Matrix]:
    return asyncio.run(reader.read("any", raw, json_length))


@pytest.mark.parametrize("by_columns", [False, True])
def test_what_is_read_arrives_whole(by_columns: bool) -> None:
    values = np.array([[1.5, np.nan, -0.0], [np.inf, 5e-324, 2.0]])
    request = Request([], "naïve", {"probability": True}, binary_output=True, json_rows=frozenset({"probability"}))
    seen = {}

    def read(raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
        seen["here"] = True
        assert (len(raw), json_length) == (2**20, 7)
        return request, np.asfortranarray(values) if by_columns else values

    with forked(read) as reader:
        for _ in range(3):
            read_request, matrix = once(reader, bytes(2**20), 7)
            assert read_request == request
            assert matrix.tobytes() == values.tobytes()
            assert matrix.flags.f_contiguous == by_columns
    assert not seen, "read in this process"


def refuse(raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
    raise ValueRefusedError("range", Fault(3, "age", 230, "a number from 18 to 100"))


def test_a_refusal_names_the_same_place() -> None:
    with forked(refuse) as reader, pytest.raises(RequestError) as refusal:
        once(reader)
    assert (refusal.value.status, refusal.value.reason) == (400, "range")
    assert refusal.value.body == {
        "error": "row 3: age is 230, expected a number from 18 to 100",
        "row": 3,
        "feature": "age",
        "value": 230,
        "allowed": "a number from 18 to 100",
    }


def take_all_memory(raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
    return Request([]), np.ones(Limits().max_parsed_bytes, dtype=np.float64)


def test_no_reader_takes_more_memory_than_a_request_may() -> None:
    with (
        forked(take_all_memory) as reader,
        pytest.raises(RequestError, match="more memory than a request may") as refusal,
    ):
        once(reader)
    assert refusal.value.status == 413


def work_for_ever(raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
    while True:
        pass


def be_killed(raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.parametrize("read", [work_for_ever, be_killed])
def test_a_reader_that_ends_before_it_has_read_refuses_its_request_alone(read: Read) -> None:
    def first(raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
        return read(raw, json_length) if raw == b"first" else (Request([], "second"), np.ones((1, 1)))

    with forked(first, Limits(request_seconds=0.1)) as reader:
        with pytest.raises(RequestError, match="could not be read") as refusal:
            once(reader, b"first")
        assert refusal.value.status == 503
        assert once(reader, b"second")[0].id == "second"


def test_an_unexpected_error_is_logged_by_its_place_alone(caplog: pytest.LogCaptureFixture) -> None:
    def stumble(raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
        raise ValueError("cholesterol 233")

    with (
        forked(stumble) as reader,
        caplog.at_level(logging.ERROR, "healthrisk.reader"),
        pytest.raises(RequestError) as refusal,
    ):
        once(reader)
    assert refusal.value.status == 500
    assert "ValueError at " in caplog.text
    assert "test_reader_process.py" in caplog.text
    assert "233" not in caplog.text + str(refusal.value)


@pytest.fixture
def server(make_bundle: Callable[..., Path], tmp_path: Path) -> Iterator[Server]:
    """A transformer that nobody else uses, without a predictor."""
    host = f"--predictor_host=127.0.0.1:{free_ports(1)[0]}"
    one = Server("transformer.py", make_bundle(), tmp_path / "transformer.log", (host, "--drain_seconds=0.1"))
    yield one.start().wait()
    one.end()


def ask(server: Server) -> httpx.Response:
    """Send a large request in which a value is wrong."""
    instances = [[0] * 13] * LARGE_ROWS
    return httpx.post(f"{server.url}/v1/models/heart-disease:predict", json={"instances": instances}, timeout=ANSWER)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_its_server(server: Server, end: signal.Signals) -> None:
    (forker,) = psutil.Process(server.pid).children()
    assert ask(server).status_code == 400
    assert not forker.children(), "readers end with their requests"
    server.end(end)
    # It was started by no process of this one, and so is waited for by looking.
    until(lambda: not forker.is_running() or forker.status() == psutil.STATUS_ZOMBIE)


def test_a_server_that_can_fork_no_more_readers_stops(server: Server) -> None:
    (forker,) = psutil.Process(server.pid).children()
    forker.kill()
    until(lambda: forker.status() == psutil.STATUS_ZOMBIE)
    assert ask(server).status_code == 503
    assert server.process is not None
    assert server.process.wait(ANSWER) == 0
    assert "the process that forks readers has ended" in server.log.read_text()
