"""A full disk is reported with its folders."""

import errno
from pathlib import Path

import pytest

from healthrisk.processes import command, full_disk


def test_a_full_disk_names_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEALTHRISK_HOME", str(tmp_path / "home"))

    def job() -> int:
        # The device that is always full.
        with Path("/dev/full").open("w") as file:
            file.write("x")
            file.flush()
        return 0

    assert command(job) == 1
    said = capsys.readouterr().err
    assert "no space left on the device" in said
    assert f"{tmp_path / 'home'} has " in said
    assert said.count("\n") == 1
    assert full_disk(OSError(errno.EACCES, "no")) == full_disk(ValueError("x")) == ""
