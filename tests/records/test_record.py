"""What was acknowledged is in the record: after kill -9 at any moment, and when the disk is full."""

import asyncio
import errno
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from healthrisk.records import segment
from healthrisk.records.lines import Opening, parse
from healthrisk.records.places import open_place
from healthrisk.records.record import Record
from healthrisk.records.stored import segments
from healthrisk.records.verify import Rules, verify
from tests.support import forked
from tests.support.patience import ANSWER, until
from tests.support.records import KEY, entry

ROOT = Path(__file__).parents[2]
CHAIN = "heart-disease-transformer-pod-1"
WRITER = "tests.records.writer"
KILLS = 90


def start(folder: Path, first: int, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", WRITER, str(folder), str(first), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)


def numbers_in(folder: Path) -> list[int]:
    """Return the numbers of all entries, in the record's order."""
    place = open_place(str(folder))
    lines = (line for own in segments(place.names(), place)[CHAIN] for line in own.data().split(b"\n")[:-1])
    return [int(line.split(b'"inputs":["')[1][:32], 16) for line in lines if b'"inputs"' in line]


@pytest.mark.slow
def test_no_acknowledged_line_is_missing_after_ninety_kills(tmp_path: Path) -> None:
    draw = random.Random(7)
    acknowledged: list[int] = []
    for kill in range(KILLS):
        command = [sys.executable, "-m", WRITER, str(tmp_path / CHAIN), str((kill + 1) * 1_000_000), "300000"]
        read, write = map(os.fdopen, os.pipe(), ("rb", "wb"))
        with read:
            with write:
                process = forked.fork(
                    command, write, os.environ, ("healthrisk.records.record", "tests.support.records")
                )
            acknowledged += [int(read.readline()) for _ in range(draw.randrange(1, 120))]
            process.send_signal(signal.SIGKILL)
            # What was said before the kill, and not read yet; the last of it may be cut.
            rest = read.read()
            acknowledged += [int(word) for word in rest[: rest.rfind(b"\n") + 1].split()]
            assert process.wait(ANSWER) == -signal.SIGKILL
    assert -1 not in acknowledged
    (verdict,) = verify(open_place(str(tmp_path)), Rules()).chains
    assert verdict.fault is None
    assert verdict.segments >= KILLS
    written = numbers_in(tmp_path)
    assert len(written) == len(set(written)) == verdict.entries
    assert set(acknowledged) <= set(written)


def test_lines_that_end_in_one_turn_go_out_with_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own call goes through, and is counted."""
    writes: list[int] = []
    write = os.write

    def note(descriptor: int, data: bytes) -> int:
        written = write(descriptor, data)
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == segment.SUFFIX:
            writes.append(bytes(data).count(b"\n"))
        return written

    async def ask() -> list[bool]:
        record = Record(tmp_path / CHAIN, KEY.key_id, lambda error: None)
        monkeypatch.setattr(os, "write", note)
        done = await asyncio.gather(*(record.write(entry(number)) for number in range(50)))
        record.close()
        return done

    assert asyncio.run(ask()) == [True] * 50
    # The opening, all entries, the seal.
    assert writes == [1, 50, 1]


def test_whoever_leaves_is_written_down_all_the_same(tmp_path: Path) -> None:
    async def leave() -> None:
        record = Record(tmp_path / CHAIN, KEY.key_id, lambda error: None)
        leaving, staying = (asyncio.ensure_future(record.write(entry(number))) for number in (1, 2))
        await asyncio.sleep(0)
        leaving.cancel()
        record.note(entry(3))
        assert await staying
        record.close()

    asyncio.run(leave())
    assert numbers_in(tmp_path) == [1, 2, 3]


def test_a_segment_is_sealed_in_time_even_where_nobody_asks_any_more(tmp_path: Path) -> None:
    async def wait() -> None:
        record = Record(tmp_path / CHAIN, KEY.key_id, lambda error: None, seal_seconds=0.1)
        await record.write(entry(1))
        path = segment.path_of(tmp_path / CHAIN, 1)
        await asyncio.to_thread(until, lambda: segment.read_final(path))
        record.close()

    asyncio.run(wait())
    assert segment.numbers(tmp_path / CHAIN) == [1]


def let_grow(process: subprocess.Popen[bytes], size: int) -> None:
    """Let the files of a process grow to so many bytes: what is more is refused, as on a full disk."""
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))


def test_where_there_is_no_room_a_line_is_taken_back_whole_and_the_record_goes_on_when_there_is(
    tmp_path: Path,
) -> None:
    process = start(tmp_path / CHAIN, 0)
    assert process.stdout is not None
    said = process.stdout
    told = [int(said.readline()) for _ in range(50)]
    assert -1 not in told
    let_grow(process, segment.path_of(tmp_path / CHAIN, 1).stat().st_size + 10_000)
    while told[-1] != -1:
        told.append(int(said.readline()))
    let_grow(process, resource.RLIM_INFINITY)
    # Much may have been said of the full disk before it had room.
    while told[-1] == -1:
        told.append(int(said.readline()))
    process.kill()
    _, errors = process.communicate(timeout=ANSWER)
    assert os.strerror(errno.EFBIG) in errors.decode()
    (verdict,) = verify(open_place(str(tmp_path)), Rules()).chains
    assert verdict.fault is None
    assert {number for number in told if number != -1} <= set(numbers_in(tmp_path))


def test_where_no_segment_can_be_begun_none_is_left_behind(tmp_path: Path) -> None:
    process = start(tmp_path / CHAIN, 0, "20000")
    assert process.stdout is not None
    assert process.stdout.readline() != b"-1\n"
    let_grow(process, 10)
    while process.stdout.readline() != b"-1\n":
        continue
    let_grow(process, resource.RLIM_INFINITY)
    while process.stdout.readline() == b"-1\n":
        continue
    process.kill()
    process.communicate(timeout=ANSWER)
    # The newest may have been begun at the very moment.
    for number in segment.numbers(tmp_path / CHAIN)[:-1]:
        assert isinstance(parse(segment.path_of(tmp_path / CHAIN, number).read_bytes().split(b"\n")[0]), Opening)
    assert verify(open_place(str(tmp_path)), Rules()).whole
