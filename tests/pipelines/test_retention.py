"""Tables of patients lie in a run's folder for so many days, and its figures for ever."""

import os
import time
from pathlib import Path

from pipelines.retention import TABLES, forget_rows


def test_old_tables_go_and_everything_else_stays(tmp_path: Path) -> None:
    for run, days in (("old", 31), ("new", 29)):
        for name in (*TABLES, "evidence/page"):
            path = tmp_path / run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
            os.utime(path, (time.time() - days * 86400,) * 2)
    # A table in parts is a folder.
    table = tmp_path / "old" / TABLES[0]
    table.rename(table.with_name("part"))
    table.mkdir()
    table.with_name("part").rename(table / "part")
    os.utime(table, (time.time() - 31 * 86400,) * 2)
    assert forget_rows(tmp_path, 30) == 3
    assert [path.exists() for path in (tmp_path / "old" / name for name in TABLES)] == [False] * 3
    assert (tmp_path / "old" / "evidence" / "page").exists()
    assert all((tmp_path / "new" / name).exists() for name in TABLES)
    assert forget_rows(tmp_path, 0) == 3
