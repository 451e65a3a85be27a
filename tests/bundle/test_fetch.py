"""What an init container brings into a pod: the bundle, and the one it is compared with, if there is one."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from healthrisk.bundle import Bundle
from tests.support import patience
from tests.support.servers import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two empty volumes."""
    made = tmp_path / "models", tmp_path / "compared"
    for folder in made:
        folder.mkdir()
    return made


def fetch(*words: object) -> subprocess.CompletedProcess[str]:
    return patience.run([sys.executable, str(ROOT / "kserve" / "fetch_bundle.py"), *map(str, words)])


def test_a_bundle_and_the_one_to_compare_with(make_bundle: Callable[..., Path], folders: tuple[Path, Path]) -> None:
    one, other = (Bundle.open(make_bundle(family=family)) for family in ("logistic_regression", "random_forest"))
    wanted = (one.path.as_uri(), one.digest, folders[0])
    done = fetch(*wanted, "--compared", other.path.as_uri(), other.digest, folders[1])
    assert done.returncode == 0, done.stderr
    assert [Bundle.open(folder).digest for folder in folders] == [one.digest, other.digest]


def test_nothing_to_compare_with(make_bundle: Callable[..., Path], folders: tuple[Path, Path]) -> None:
    bundle = Bundle.open(make_bundle(family="logistic_regression"))
    done = fetch(bundle.path.as_uri(), bundle.digest, folders[0], "--compared", "", "", folders[1])
    assert done.returncode == 0, done.stderr
    assert Bundle.open(folders[0]).digest == bundle.digest
    assert list(folders[1].iterdir()) == []


def test_another_than_was_asked_for(make_bundle: Callable[..., Path], folders: tuple[Path, Path]) -> None:
    bundle = Bundle.open(make_bundle(family="logistic_regression"))
    wanted = (bundle.path.as_uri(), bundle.digest, folders[0])
    done = fetch(*wanted, "--compared", bundle.path.as_uri(), "0" * 64, folders[1])
    assert done.returncode == 1
    assert "expected 0000" in done.stderr
    assert list(folders[1].iterdir()) == []


def test_a_sample_is_made_by_a_command(folders: tuple[Path, Path]) -> None:
    """As benchmarks and tests of a cluster make theirs."""
    command = [sys.executable, "-m", "tests.support.sample_bundle", str(folders[0]), "--family=logistic_regression"]
    done = patience.run(command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert Bundle.open(Path(done.stdout.strip())).spec.name == "heart-disease"
