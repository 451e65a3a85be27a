"""Whatever is done to a record is found, and the first place at fault is named."""

import gzip
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from healthrisk.records import segment, signature
from healthrisk.records.carrier import carry
from healthrisk.records.lines import START, chained, digest
from healthrisk.records.places import open_place
from healthrisk.records.verify import ChainVerdict, Rules, verify
from tests.support.records import entry, write_chain

CHAIN = "heart-disease-transformer-pod-1"
KEY, OTHER = (signature.signing_key(letter * 64) for letter in "12")
SIGNED_BY = (KEY.public_key(),)
KEEP = timedelta(days=184)
# Three segments: five entries each in the first two, four in the last; each has its opening and its seal beside them.
ENTRIES = 14


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    write_chain(tmp_path / "spool" / CHAIN, range(ENTRIES))
    return tmp_path / "spool"


@pytest.fixture
def kept(spool: Path, tmp_path: Path) -> Path:
    (tmp_path / "kept").mkdir()
    assert carry(spool, open_place(str(tmp_path / "kept")), KEY, KEEP).faults == ()
    return tmp_path / "kept"


def judge(folder: Path, rules: Rules | None = None) -> ChainVerdict:
    (verdict,) = verify(open_place(str(folder)), rules or Rules(SIGNED_BY)).chains
    return verdict


def edit(path: Path, change: Callable[[list[bytes]], object]) -> None:
    """Change a segment's lines in place, packed or not."""
    packed = path.suffix == ".gz"
    data = path.read_bytes()
    lines = (gzip.decompress(data) if packed else data).splitlines(keepends=True)
    change(lines)
    data = b"".join(lines)
    path.write_bytes(gzip.compress(data) if packed else data)


def alter(lines: list[bytes]) -> None:
    lines[3] = lines[3].replace(b'"status":200', b'"status":400')


def swap(lines: list[bytes]) -> None:
    lines[2], lines[3] = lines[3], lines[2]


EDITS: dict[str, tuple[Callable[[list[bytes]], object], str]] = {
    "altered": (alter, "line 4 was altered"),
    "deleted": (lambda lines: lines.pop(3), "line 3 was altered, or a line after it is missing"),
    "swapped": (swap, "line 2 was altered, or a line after it is missing"),
    "repeated": (lambda lines: lines.insert(3, lines[2]), "line 3 was altered, or a line after it is missing"),
    "another's": (lambda lines: lines.insert(3, b'{"hello": 1}\n'), "line 4: not a line of a record"),
    "with the opening altered": (
        lambda lines: lines.__setitem__(0, lines[0].replace(CHAIN.encode(), b"other")),
        "line 1: it opens segment 2 of chain other",
    ),
    "without its opening": (lambda lines: lines.pop(0), "line 1: it opens no segment"),
    "with more after the seal": (lambda lines: lines.append(b'{"half'), "it follows the seal"),
    "cut in the middle": (lambda lines: lines.__delitem__(slice(4, None)), "does not say how segment 2 ends"),
    "without its last line": (lambda lines: lines.pop(), "does not say how segment 2 ends"),
    "torn": (lambda lines: lines.__setitem__(-1, lines[-1][:20]), "does not say how segment 2 ends"),
}


@pytest.mark.parametrize("what", EDITS)
def test_lines_that_were_changed_are_found(spool: Path, what: str) -> None:
    assert judge(spool).fault is None
    change, said = EDITS[what]
    edit(segment.path_of(spool / CHAIN, 2), change)
    fault = judge(spool).fault
    assert fault
    assert said in fault
    # What the chain alone tells: a segment that was cut is told of by the one after it.
    assert f"segment {3 if 'does not say' in said else 2}, line" in fault


def test_segments_that_are_missing_or_swapped_are_found(spool: Path) -> None:
    first, second, third = (segment.path_of(spool / CHAIN, number) for number in (1, 2, 3))
    saved = second.read_bytes()
    second.unlink()
    assert "segment 3, line 1: it does not say how segment 1 ends" in str(judge(spool).fault)
    second.write_bytes(third.read_bytes())
    third.write_bytes(saved)
    assert "segment 2, line 1: it opens segment 3" in str(judge(spool).fault)
    third.write_bytes(second.read_bytes())
    second.write_bytes(saved)
    assert judge(spool).fault is None
    first.unlink()
    assert "segment 2, line 1: segment 1 before it is missing, and is kept for 184 days" in str(judge(spool).fault)


def test_a_segment_of_another_chain_is_no_segment_of_this_one(spool: Path) -> None:
    write_chain(spool / "other", range(ENTRIES))
    shutil.copy(segment.path_of(spool / "other", 2), segment.path_of(spool / CHAIN, 2))
    verdicts = {verdict.chain: verdict.fault for verdict in verify(open_place(str(spool)), Rules()).chains}
    assert "it opens segment 2 of chain other" in str(verdicts[CHAIN])
    assert verdicts["other"] is None


def test_what_was_carried_is_whole_and_signed(kept: Path) -> None:
    verdict = judge(kept)
    assert (verdict.fault, verdict.segments, verdict.entries, verdict.unsigned) == (None, 3, ENTRIES, 0)


@pytest.mark.parametrize("what", EDITS)
@pytest.mark.parametrize("number", [1, 3])
def test_of_carried_segments_every_change_is_found_where_it_is(kept: Path, what: str, number: int) -> None:
    change, _ = EDITS[what]
    edit(kept / CHAIN / f"{number:08}.jsonl.gz", change)
    assert f"segment {number}, " in str(judge(kept).fault)


def forge(kept: Path, number: int) -> None:
    """Leave an entry out of a segment, and chain and seal the rest as if it had never been there."""
    path = kept / CHAIN / f"{number:08}.jsonl.gz"
    bodies = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    del bodies[2]
    bodies[-1]["sealed"] -= 1
    lines, last = [], bodies[0].pop("previous")
    for body in bodies:
        body.pop("previous", None)
        line, last = chained(json.dumps(body, separators=(",", ":")).encode(), last)
        lines.append(line)
    path.write_bytes(gzip.compress(b"".join(lines)))


def test_a_history_that_was_written_anew_bears_no_signature(kept: Path) -> None:
    forge(kept, 3)
    # The chain itself is whole: it is the signature that tells.
    assert "segment 3, it is not what was signed" in str(judge(kept).fault)
    (kept / CHAIN / "00000003.json").unlink()
    assert "segment 3, its signature is missing" in str(judge(kept).fault)


def test_whoever_signs_with_another_key_is_not_believed(spool: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    carry(spool, open_place(str(tmp_path / "kept")), OTHER, KEEP)
    assert "segment 1, its signature is by none of the keys" in str(judge(tmp_path / "kept").fault)
    both = Rules((*SIGNED_BY, OTHER.public_key()))
    assert judge(tmp_path / "kept", both).fault is None


@pytest.mark.parametrize("text", ['{"statement": 1}', "", "{}"])
def test_what_is_no_signature_is_none(kept: Path, text: str) -> None:
    (kept / CHAIN / "00000002.json").write_text(text)
    assert "segment 2, its signature is no signed statement" in str(judge(kept).fault)


def test_a_file_that_is_cut_is_named(kept: Path) -> None:
    path = kept / CHAIN / "00000002.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert "segment 2, cannot be unpacked" in str(judge(kept).fault)


def test_the_newest_that_was_taken_away_is_missed_by_whoever_has_seen_it(kept: Path) -> None:
    """The chain alone cannot tell: it ends where it ends. A verdict of before can."""
    known = {CHAIN: judge(kept)}
    rules = Rules(SIGNED_BY, KEEP, known)
    assert judge(kept, rules).fault is None
    for path in (kept / CHAIN).glob("00000003.*"):
        path.unlink()
    assert judge(kept).fault is None
    assert "it went on to line 6 of segment 3 before" in str(judge(kept, rules).fault)
    shutil.rmtree(kept / CHAIN)
    assert "it is gone, and was there before" in str(judge(kept, rules).fault)
    old = known[CHAIN].model_copy(update={"last": "2020-01-01T00:00:00+00:00"})
    assert verify(open_place(str(kept)), Rules(SIGNED_BY, KEEP, {CHAIN: old})).whole


def test_a_line_that_was_seen_cannot_become_another(kept: Path) -> None:
    known = judge(kept)
    other = known.model_copy(update={"digest": digest(b"another line")})
    assert "segment 3, line 6: it is another than was there before" in str(
        judge(kept, Rules(SIGNED_BY, KEEP, {CHAIN: other})).fault
    )


def test_what_is_no_longer_kept_is_not_missed(kept: Path) -> None:
    for path in (kept / CHAIN).glob("00000001.*"):
        path.unlink()
    assert "segment 1 before it is missing" in str(judge(kept).fault)
    assert judge(kept, Rules(SIGNED_BY, timedelta())).fault is None


def test_a_chain_that_does_not_begin_at_its_beginning_is_found(spool: Path) -> None:
    """An opening that names no segment before it belongs to the first one."""
    line, _ = chained(entry(1), START)
    path = segment.path_of(spool / CHAIN, 1)
    edit(path, lambda lines: lines.__setitem__(0, line))
    assert "segment 1, line 1: it opens no segment" in str(judge(spool).fault)


@pytest.mark.parametrize("begun", [b"", b'{"format":1'])
def test_a_segment_that_was_just_being_begun_is_no_fault(spool: Path, begun: bytes) -> None:
    segment.path_of(spool / CHAIN, 4).write_bytes(begun)
    verdict = judge(spool)
    assert (verdict.fault, verdict.segments) == (None, 3)
    segment.path_of(spool / CHAIN, 5).write_bytes(segment.path_of(spool / CHAIN, 3).read_bytes())
    assert "segment 4, line 1: it is missing" in str(judge(spool).fault)


def test_a_chain_that_was_just_being_begun_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / CHAIN).mkdir()
    segment.path_of(tmp_path / CHAIN, 1).touch()
    verdict = judge(tmp_path)
    assert (verdict.fault, verdict.segments, verdict.entries) == (None, 0, 0)


def test_a_segment_that_names_none_before_it_is_the_first_one(spool: Path) -> None:
    """Or whoever takes the first ones away would only have to write a new opening."""
    path = segment.path_of(spool / CHAIN, 3)
    opening = json.loads(path.read_bytes().split(b"\n")[0]) | {"after": None}
    del opening["previous"]
    line, _ = chained(json.dumps(opening).encode(), START)
    path.write_bytes(line)
    for number in (1, 2):
        segment.path_of(spool / CHAIN, number).unlink()
    assert "segment 3, line 1: it names no segment before it" in str(judge(spool).fault)


def test_a_line_after_the_seal_is_found_though_it_follows(spool: Path) -> None:
    path = segment.path_of(spool / CHAIN, 3)
    data = path.read_bytes()
    line, _ = chained(entry(1), digest(data.splitlines()[-1]))
    path.write_bytes(data + line)
    assert "segment 3, line 7: it follows the seal" in str(judge(spool).fault)
    seal, _ = chained(b'{"time":"2026-11-22T00:00:00+00:00","sealed":99}', digest(data.splitlines()[-2]))
    path.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]) + seal)
    assert "segment 3, line 6: it seals 99 lines, and 5 are there" in str(judge(spool).fault)
