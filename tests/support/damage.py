"""A file of a backup damaged in each way in which one is."""

from collections.abc import Iterator
from pathlib import Path


def damaged(path: Path) -> Iterator[str]:
    """Yield what a backup says of a file each time that it has become another; it is as it was in the end."""
    data = path.read_bytes()
    for other in (data[:-1] + bytes([data[-1] ^ 1]), data[:-1], b""):
        path.unlink()
        path.write_bytes(other)
        yield "altered"
    path.unlink()
    yield "missing"
    path.write_bytes(data)
