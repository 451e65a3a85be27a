"""The segments of a place, by chain: those that a server writes, and those that were carried."""

import gzip
import re
import zlib
from collections import defaultdict
from dataclasses import dataclass

from healthrisk.records.chain import CARRIED
from healthrisk.records.lines import RecordError
from healthrisk.records.places import Place

# A server's own file, and its compressed copy with its signature.
PLAIN, PACKED, SIGNED = ".jsonl", ".jsonl.gz", ".json"
_NAME = re.compile(r"(?P<chain>[^/]+)/(?P<number>\d{8})(?P<suffix>\.jsonl(?:\.gz)?)")


@dataclass(frozen=True)
class StoredSegment:
    """A segment in a place."""

    place: Place
    chain: str
    number: int
    suffix: str

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"chain {self.chain}, segment {self.number}"

    def data(self) -> bytes:
        """Return its bytes, unpacked.

        Raises:
            RecordError: they cannot be unpacked.
        """
        data = self.place.read(file_name(self.chain, self.number, self.suffix))
        try:
            return gzip.decompress(data) if self.suffix == PACKED else data
        except (OSError, EOFError, zlib.error) as error:
            raise RecordError("cannot be unpacked") from error


def file_name(chain: str, number: int, suffix: str) -> str:
    """Return the name of a file of a segment."""
    return f"{chain}/{number:08}{suffix}"


def segments(names: list[str], place: Place) -> dict[str, list[StoredSegment]]:
    """Return the segments of each chain in order, given the names of all files."""
    chains: dict[str, dict[int, StoredSegment]] = defaultdict(dict)
    for match in filter(None, map(_NAME.fullmatch, sorted(names))):
        chain, number = match["chain"], int(match["number"])
        # Of two copies of one segment the signed one: it is carried, and about to be removed.
        chains[chain][number] = StoredSegment(place, chain, number, match["suffix"])
    return {chain: [own[number] for number in sorted(own)] for chain, own in sorted(chains.items())}


def carried_name(chain: str) -> str:
    """Return the name of the file that says how the last segment ended that was carried away from a place."""
    return f"{chain}/{CARRIED}"
