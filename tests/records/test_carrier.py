"""Finished segments are carried whole, once, in order; what is still written stays, and so does what is at fault."""

import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from healthrisk.errors import StoreError
from healthrisk.records import segment, signature
from healthrisk.records.carrier import Carried, carry
from healthrisk.records.chain import Chain
from healthrisk.records.disk import DiskThread
from healthrisk.records.lines import RecordError
from healthrisk.records.places import Place, open_place
from healthrisk.records.search import find
from healthrisk.records.verify import Rules, verify
from tests.support.patience import until
from tests.support.records import KEY, entry, write_chain

CHAIN = "heart-disease-transformer-pod-1"
SIGNER = signature.signing_key("1" * 64)
KEEP = timedelta(days=184)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def kept(tmp_path: Path) -> Place:
    (tmp_path / "kept").mkdir()
    return open_place(str(tmp_path / "kept"))


def entries(place: Place) -> int:
    verdict = verify(place, Rules((SIGNER.public_key(),)))
    assert verdict.whole, verdict
    return sum(one.entries for one in verdict.chains)


def test_what_is_still_written_stays_until_it_is_sealed(spool: Path, kept: Place) -> None:
    disk = DiskThread(lambda error: None)
    chain = Chain(spool / CHAIN, KEY.key_id, disk)
    chain.append([entry(1)])
    assert carry(spool, kept, SIGNER, KEEP) == Carried(carried=0, removed=0, faults=())
    chain.seal()
    until(lambda: segment.read_final(segment.path_of(spool / CHAIN, 1)))
    assert carry(spool, kept, SIGNER, KEEP).carried == 1
    assert segment.numbers(spool / CHAIN) == []
    # The same process goes on, and after it another one.
    chain.append([entry(2)])
    chain.release()
    disk.close()
    write_chain(spool / CHAIN, range(3, 5))
    assert carry(spool, kept, SIGNER, KEEP).carried == 2
    assert entries(kept) == 4


def test_a_killed_process_leaves_a_segment_that_is_carried_as_it_is(spool: Path, kept: Place) -> None:
    write_chain(spool / CHAIN, range(3))
    path = segment.path_of(spool / CHAIN, 1)
    path.write_bytes(path.read_bytes().rpartition(b'{"time"')[0] + b'{"ti')
    assert carry(spool, kept, SIGNER, KEEP).carried == 1
    assert entries(kept) == 3
    # Whoever goes on finds by the carrier's note what was left out.
    write_chain(spool / CHAIN, range(3, 5))
    assert verify(open_place(str(spool)), Rules()).whole
    assert carry(spool, kept, SIGNER, KEEP).carried == 1
    assert entries(kept) == 5


def test_a_run_that_was_killed_is_repeated(spool: Path, kept: Place, tmp_path: Path) -> None:
    """Between any two of its steps: what is there is written again, and what was carried is removed."""
    write_chain(spool / CHAIN, range(10))
    shutil.copytree(spool, tmp_path / "before")
    assert carry(spool, kept, SIGNER, KEEP).carried == 2
    note = (spool / CHAIN / "carried.json").read_text()
    # Killed before the segments were removed, with its note and without.
    for left in ("", note):
        shutil.rmtree(spool)
        shutil.copytree(tmp_path / "before", spool)
        if left:
            (spool / CHAIN / "carried.json").write_text(left)
        assert carry(spool, kept, SIGNER, KEEP) == Carried(carried=0 if left else 2, removed=0, faults=())
        assert segment.numbers(spool / CHAIN) == []
        assert (spool / CHAIN / "carried.json").read_text() == note
        assert entries(kept) == 10


def test_a_chain_at_fault_stays_and_the_others_go(spool: Path, kept: Place) -> None:
    write_chain(spool / CHAIN, range(10))
    write_chain(spool / "another", range(3))
    path = segment.path_of(spool / CHAIN, 2)
    path.write_bytes(path.read_bytes().replace(b'"rows":1', b'"rows":2', 1))
    done = carry(spool, kept, SIGNER, KEEP)
    assert done.carried == 2
    (fault,) = done.faults
    assert f"chain {CHAIN}, segment 2, line 2 was altered" in fault
    assert segment.numbers(spool / CHAIN) == [2]
    assert entries(kept) == 8


def test_what_is_kept_is_never_written_over(spool: Path, kept: Place) -> None:
    """A chain of the same name that begins anew, since its folder was lost."""
    write_chain(spool / CHAIN, range(3))
    carry(spool, kept, SIGNER, KEEP)
    shutil.rmtree(spool)
    write_chain(spool / CHAIN, range(3))
    (fault,) = carry(spool, kept, SIGNER, KEEP).faults
    assert fault == f"chain {CHAIN}, segment 1: another one is kept already"
    assert entries(kept) == 3
    assert segment.numbers(spool / CHAIN) == [1]


def test_a_segment_that_is_not_begun_yet_is_left_alone(spool: Path, kept: Place) -> None:
    write_chain(spool / CHAIN, range(2))
    segment.path_of(spool / CHAIN, 2).touch()
    assert carry(spool, kept, SIGNER, KEEP).carried == 1
    assert segment.numbers(spool / CHAIN) == [2]


def test_what_is_old_enough_is_removed_from_its_beginning(spool: Path, kept: Place) -> None:
    write_chain(spool / CHAIN, range(12))
    assert carry(spool, kept, SIGNER, KEEP) == Carried(carried=3, removed=0, faults=())
    # From its end on a segment is kept; these ended in the last minutes.
    assert carry(spool, kept, SIGNER, timedelta(hours=10)).removed == 0
    assert carry(spool, kept, SIGNER, timedelta()).removed == 3
    assert kept.names() == []


def test_what_is_left_of_a_chain_goes_with_the_last_of_it_unless_somebody_goes_on(spool: Path, kept: Place) -> None:
    write_chain(spool / CHAIN, range(3))
    carry(spool, kept, SIGNER, KEEP)
    assert (spool / CHAIN / "carried.json").exists()
    disk = DiskThread(lambda error: None)
    chain = Chain(spool / CHAIN, KEY.key_id, disk)
    carry(spool, kept, SIGNER, timedelta())
    assert (spool / CHAIN / "carried.json").exists()
    chain.release()
    disk.close()
    carry(spool, kept, SIGNER, timedelta())
    assert list(spool.iterdir()) == []


def test_what_cannot_be_read_is_named(spool: Path, kept: Place, tmp_path: Path) -> None:
    write_chain(spool / CHAIN, range(3))
    carry(spool, kept, SIGNER, KEEP)
    path = tmp_path / "kept" / CHAIN / "00000001.jsonl.gz"
    path.write_bytes(b"hello")
    with pytest.raises(RecordError, match=f"chain {CHAIN}, segment 1: cannot be unpacked"):
        find(kept, [f"{1:032x}"])
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        kept.read(f"{CHAIN}/00000001.jsonl.gz")


def test_a_file_says_until_when_it_is_kept(spool: Path) -> None:
    class Noting:
        """A place that keeps nothing but what it was told of time."""

        def __init__(self) -> None:
            self.until: dict[str, datetime] = {}

        def names(self) -> list[str]:
            return []

        def read(self, name: str) -> bytes:
            raise FileNotFoundError(name)

        def write(self, name: str, data: bytes, keep_until: datetime) -> None:
            self.until[name] = keep_until

        def remove(self, name: str) -> bool:
            raise FileNotFoundError(name)

    write_chain(spool / CHAIN, range(2))
    (written,) = (one.last for one in verify(open_place(str(spool)), Rules()).chains)
    noted = Noting()
    carry(spool, noted, SIGNER, KEEP)
    assert written is not None
    assert noted.until == dict.fromkeys(
        (f"{CHAIN}/00000001.jsonl.gz", f"{CHAIN}/00000001.json"), datetime.fromisoformat(written) + KEEP
    )


def test_an_entry_is_found_before_and_after_it_is_carried(spool: Path, kept: Place) -> None:
    write_chain(spool / CHAIN, range(7))
    wanted = [f"{6:032x}"]
    for place in (open_place(str(spool)), kept):
        if place is kept:
            carry(spool, kept, SIGNER, KEEP)
        (match,) = find(place, wanted).found
        assert (match.chain, match.segment, match.line) == (CHAIN, 2, 3)
        assert match.entry.inputs == tuple(wanted)
    assert find(kept, ["f" * 32]).found == ()


def test_the_folder_of_segments_keeps_others_out(spool: Path) -> None:
    write_chain(spool / CHAIN, range(2))
    assert (spool / CHAIN).stat().st_mode & 0o7 == 0
    assert segment.path_of(spool / CHAIN, 1).stat().st_mode & 0o7 == 0
    assert os.access(spool / CHAIN, os.R_OK)
