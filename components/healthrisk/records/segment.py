"""One segment of a record as the process that writes it holds it: appended to whole lines at a time, and locked."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

SUFFIX = ".jsonl"


def path_of(folder: Path, number: int) -> Path:
    """Return where a chain's segment lies."""
    return folder / f"{number:08}{SUFFIX}"


def numbers(folder: Path) -> list[int]:
    """Return the numbers of a chain's segments that lie in its folder, in order."""
    return sorted(int(path.stem) for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())


class Segment:
    """A new file of a chain. The lock on it ends with the process: what is unlocked will not change any more."""

    def __init__(self, folder: Path, number: int, opening: bytes) -> None:
        """Make the file with its first line.

        Raises:
            OSError: it cannot be made; there is no file then.
        """
        self.folder, self.number = folder, number
        self.size, self.lines = 0, 0
        # `dirty`: written, and not on the disk. `torn`: it holds bytes that are no line, so nothing may follow them.
        self.dirty, self.torn, self.ended = False, False, False
        # Until the folder knows the file by its name on the disk as well.
        self.is_new = True
        path = path_of(folder, number)
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            # Waits for a carrier that looks at a file without a line.
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            self.append([opening])
        except OSError:
            path.unlink()
            os.close(self.descriptor)
            raise

    def append(self, lines: list[bytes]) -> None:
        """Write lines, all or none of them. They are the kernel's then, and outlive this process.

        Raises:
            OSError: there is no room, or the disk does not take them.
        """
        data = memoryview(b"".join(lines))
        written = 0
        try:
            while written < len(data):
                written += os.write(self.descriptor, data[written:])
        except OSError:
            # What was written of them was promised to nobody.
            self.torn = True
            with suppress(OSError):
                os.ftruncate(self.descriptor, self.size)
                self.torn = False
            raise
        self.size += len(data)
        self.lines += len(lines)


def read_final(path: Path) -> bytes | None:
    """Return the bytes of a segment that will not change any more, or None where a process still writes it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        # Within the lock: one that is just being made has no line until it is given up.
        return file.read()
