"""Large requests are read in a process of their own, which ends with all the memory that it took.

A parser holds Python's lock for as long as it works, in which nobody is answered, and what it frees leaves the heap in
holes. So one process is forked for each large request; not by the server, which has threads, but by a process that was
forked from it when it had none. Bytes and values go to and fro in a file in memory.
"""

import asyncio
import logging
import math
import mmap
import os
import resource
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import orjson

from healthrisk.serving.admission import Limits
from healthrisk.serving.errors import RequestError, unavailable
from healthrisk.serving.reading import Read
from healthrisk.serving.tensors import Matrix, Request

# Beside what a body becomes when it is parsed: the body itself, its columns and their matrix.
_SPARE_BYTES = 96 * 2**20
_WORD_BYTES = 64
_log = logging.getLogger("healthrisk.reader")


class ReaderProcess:
    """The process from which readers are forked. One request at a time may be read."""

    def __init__(self, reads: Mapping[str, Read], limits: Limits) -> None:
        """Fork it, with the ways to read by their names. The calling process must have no other thread."""
        self.reads = reads
        self._control, theirs = socket.socketpair()
        if os.fork() == 0:
            try:
                self._control.close()
                _fork_readers(theirs, reads, limits)
            finally:
                os._exit(1)
        theirs.close()

    def close(self) -> None:
        """Let it end."""
        self._control.close()

    async def read(self, name: str, raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
        """Return what the way of this name reads in a body.

        Raises:
            RequestError: the body is refused; 503, its reader came to an end before it had read it.
        """
        file = _memory_file()
        try:
            with open(file, "wb", closefd=False) as body:
                body.write(raw)
            head_bytes = await self._answer(orjson.dumps([name, json_length]), file)
            return _unpacked(mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE), head_bytes)
        finally:
            os.close(file)

    async def _answer(self, order: bytes, file: int) -> int:
        """Have a file read; return, once the reader has ended, how many bytes stand in the file before the matrix."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs:
                try:
                    socket.send_fds(self._control, [order], [file, theirs.fileno()])
                except OSError as error:
                    # Nothing large can be read any more: whoever started this server starts it again.
                    _log.critical("the process that forks readers has ended: stopping")
                    signal.raise_signal(signal.SIGTERM)
                    raise _ended() from error
            loop, answer = asyncio.get_running_loop(), b""
            # Until the end: the kernel closes the other side once the reader's memory is free.
            while part := await loop.sock_recv(ours, 64):
                answer += part
        if not answer:
            raise _ended()
        return int(answer)


def _ended() -> RequestError:
    return unavailable("reader", "the request could not be read; send it again, or in smaller parts")


def _memory_file() -> int:
    """Return a new file without a name, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("request")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _fork_readers(control: socket.socket, reads: Mapping[str, Read], limits: Limits) -> NoReturn:
    """Fork a reader for each order, until the server is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A terminal's reach all processes of a server; it is the server that ends them.
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        order, files, _, _ = socket.recv_fds(control, 256, 2)
        if not order:
            os._exit(0)
        try:
            if os.fork() == 0:
                try:
                    _read(reads, limits, order, *files)
                finally:
                    os._exit(1)
        except OSError as error:
            _log.error("no reader could be forked: %s", error.strerror)
        for file in files:
            os.close(file)


def _read(reads: Mapping[str, Read], limits: Limits, order: bytes, file: int, answer: int) -> None:
    """Read the body that stands in a file, and put what it holds in its place."""
    _bound(limits)
    name, json_length = orjson.loads(order)
    with open(file, "r+b") as body:
        body.seek(0)
        try:
            parts = _packed(*reads[name](body.read(), json_length))
        except RequestError as error:
            parts = [_head({"refused": [error.status, error.reason, str(error), error.details]})]
        except MemoryError:
            parts = [_head({"refused": [413, "too_large", "the body takes more memory than a request may", {}]})]
        except Exception as error:  # noqa: BLE001 - the last line of defence; its message may quote a value
            at = traceback.extract_tb(error.__traceback__)[-1]
            parts = [_head({"failed": f"{type(error).__name__} at {at.filename}:{at.lineno}"})]
        body.seek(0)
        body.truncate()
        body.writelines(parts)
    os.write(answer, b"%d" % len(parts[0]))


def _bound(limits: Limits) -> None:
    """Let this process take no more time and memory than one request may, whatever it reads."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        memory = pages * resource.getpagesize() + limits.max_parsed_bytes + _SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    seconds = max(1, math.ceil(limits.request_seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _head(content: dict[str, Any]) -> bytes:
    """Return content as JSON of whole words, so that what follows stands where the processor reads it fastest."""
    packed = orjson.dumps(content, default=list)
    return packed.ljust(-(-len(packed) // _WORD_BYTES) * _WORD_BYTES)


def _packed(request: Request, matrix: Matrix) -> list[Any]:
    by_columns = not matrix.flags.c_contiguous
    values = np.ascontiguousarray(matrix.T if by_columns else matrix)
    head = {
        "request": asdict(request),
        "dtype": values.dtype.str,
        "shape": values.shape,
        "by_columns": by_columns,
    }
    return [_head(head), values]


def _unpacked(content: mmap.mmap, head_bytes: int) -> tuple[Request, Matrix]:
    head = orjson.loads(content[:head_bytes])
    if "refused" in head:
        raise RequestError(*head["refused"])
    if "failed" in head:
        _log.error("unexpected error: %s", head["failed"])
        raise RequestError(500, "internal", "internal error; the server's log has the place")
    values = np.frombuffer(content, head["dtype"], offset=head_bytes).reshape(head["shape"])
    given = head["request"]
    request = Request(**{**given, "json_rows": frozenset(given["json_rows"])})
    return request, values.T if head["by_columns"] else values
