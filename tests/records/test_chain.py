"""A chain goes on whatever ended the process before: in a segment of its own, which names what is left out."""

import os
from pathlib import Path

import pytest

from healthrisk.errors import ConfigError
from healthrisk.records import segment
from healthrisk.records.chain import Chain, end_of
from healthrisk.records.disk import DiskThread
from healthrisk.records.lines import Entry, Opening, RecordError, Seal, parse
from healthrisk.records.places import open_place
from healthrisk.records.verify import Rules, verify
from tests.support.patience import until
from tests.support.records import KEY, entry, write_chain


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "heart-disease-transformer-pod-1"


def lines(folder: Path, number: int) -> list[bytes]:
    return segment.path_of(folder, number).read_bytes().splitlines()


def test_a_segment_is_opened_and_sealed_and_the_next_one_follows(folder: Path) -> None:
    write_chain(folder, range(7), 5)
    first, second = ([parse(line) for line in lines(folder, number)] for number in (1, 2))
    assert [type(line) for line in first] == [Opening, *[Entry] * 5, Seal]
    assert [type(line) for line in second] == [Opening, *[Entry] * 2, Seal]
    opening = second[0]
    assert isinstance(opening, Opening)
    assert opening.after is not None
    assert (opening.after.segment, opening.after.digest, opening.after.left_out) == (1, opening.previous, 0)
    assert opening.key == KEY.key_id
    (verdict,) = verify(open_place(str(folder.parent)), Rules()).chains
    assert (verdict.fault, verdict.segments, verdict.entries) == (None, 2, 7)


@pytest.mark.parametrize("torn", [b'{"time":"2026', b"\0" * 300, b'{"a":1}\n{"b'])
def test_what_a_killed_process_left_half_written_is_named_and_left_out(folder: Path, torn: bytes) -> None:
    write_chain(folder, range(3))
    last = segment.path_of(folder, 1)
    # Without its seal, as a process that is killed leaves it.
    whole = b"".join(line + b"\n" for line in lines(folder, 1)[:-1])
    last.write_bytes(whole + torn)
    write_chain(folder, range(3, 5))
    assert last.read_bytes() == whole + torn
    opening = parse(lines(folder, 2)[0])
    assert isinstance(opening, Opening)
    assert opening.after is not None
    assert opening.after.left_out == len(torn)
    (verdict,) = verify(open_place(str(folder.parent)), Rules()).chains
    if b"\n" in torn:
        # A killed process leaves no line that does not follow: this one came from elsewhere.
        assert verdict.fault
        assert "segment 1, line 5" in verdict.fault
    else:
        assert (verdict.fault, verdict.segments, verdict.entries) == (None, 2, 5)


@pytest.mark.parametrize("begun", [b"", b'{"format":1,"ch'])
def test_a_segment_without_a_line_is_begun_anew(folder: Path, begun: bytes) -> None:
    write_chain(folder, range(2))
    segment.path_of(folder, 2).write_bytes(begun)
    write_chain(folder, range(2, 4))
    assert segment.numbers(folder) == [1, 2]
    assert verify(open_place(str(folder.parent)), Rules()).whole


def test_a_last_line_of_something_else_is_refused(folder: Path) -> None:
    folder.mkdir()
    segment.path_of(folder, 1).write_bytes(b"hello\n")
    with pytest.raises(RecordError, match=r"00000001\.jsonl: not a line of a record"):
        end_of(folder)


def test_one_process_at_a_time_writes_a_chain(folder: Path) -> None:
    disk = DiskThread(lambda error: None)
    chain = Chain(folder, KEY.key_id, disk)
    with pytest.raises(ConfigError, match="another process writes there"):
        Chain(folder, KEY.key_id, disk)
    chain.release()
    Chain(folder, KEY.key_id, disk).release()
    disk.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    disk = DiskThread(lambda error: None)
    with pytest.raises(ConfigError, match="cannot be written"):
        Chain(tmp_path / "file" / "chain", KEY.key_id, disk)
    disk.close()


def test_what_was_written_is_brought_to_the_disk_and_ended_segments_are_closed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's own call goes through; how much of the file it covered is noted."""
    covered: list[int] = []
    synchronize = os.fdatasync

    def note(descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        synchronize(descriptor)
        covered.append(size)

    monkeypatch.setattr(os, "fdatasync", note)
    disk = DiskThread(lambda error: None)
    chain = Chain(folder, KEY.key_id, disk)
    for number in range(3):
        chain.append([entry(number)])
        size = segment.path_of(folder, 1).stat().st_size
        until(lambda size=size: covered and covered[-1] == size)  # type: ignore[misc]
    assert segment.read_final(segment.path_of(folder, 1)) is None
    chain.seal()
    until(lambda: segment.read_final(segment.path_of(folder, 1)))
    assert covered[-1] == segment.path_of(folder, 1).stat().st_size
    chain.release()
    disk.close()


def test_what_the_disk_did_not_keep_is_not_written_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[OSError] = []
    disk = DiskThread(failures.append)
    chain = Chain(folder, KEY.key_id, disk)

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    chain.append([entry(1)])
    until(lambda: failures)
    chain.abandon()
    monkeypatch.undo()
    chain.append([entry(2)])
    chain.release()
    disk.close()
    assert segment.numbers(folder) == [1, 2]
    (verdict,) = verify(open_place(str(folder.parent)), Rules()).chains
    assert (verdict.fault, verdict.entries) == (None, 2)
