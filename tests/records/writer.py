"""A process that writes a record as a server does, and says of each line once it is told that it is written.

python -m tests.records.writer FOLDER FIRST [SEGMENT_BYTES]: eight writers at once; every twentieth line is a long one.
"""

import asyncio
import itertools
import os
import sys
from pathlib import Path

from healthrisk.records.record import Record
from tests.support.records import KEY, entry

_LONG = tuple(f"{number:032x}" for number in range(2000))


async def write(record: Record, numbers: "itertools.count[int]") -> None:
    for number in numbers:
        told = await record.write(entry(number, _LONG if number % 20 == 0 else ()))
        os.write(1, b"%d\n" % (number if told else -1))
        await asyncio.sleep(0)


async def main() -> None:
    folder, first, *size = sys.argv[1:]
    sizes = {"segment_bytes": int(size[0])} if size else {}
    record = Record(Path(folder), KEY.key_id, lambda error: sys.stderr.write(f"{error}\n"), **sizes)
    numbers = itertools.count(int(first))
    await asyncio.gather(*(write(record, numbers) for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main())
