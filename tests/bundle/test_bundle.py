"""A bundle is whole, unaltered and immutable, or it is refused by name."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from healthrisk.bundle import FILES, MANIFEST, Bundle, bundle
from healthrisk.bundle.classifier import LINEAR
from healthrisk.bundle.manifest import Provenance
from healthrisk.errors import BundleError
from tests.support import sample_bundle


@pytest.fixture
def path(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A bundle to damage, below its address."""
    source = make_bundle("heart-disease", "logistic_regression")
    return Path(shutil.copytree(source, tmp_path / source.name))


def test_the_bundle_of_a_run_opens_by_its_address(home: Path) -> None:
    (path,) = (home / "bundles" / "heart-disease").iterdir()
    opened = Bundle.open(path, path.name)
    assert opened.digest == path.name
    assert set(opened.manifest.files) == {*FILES, LINEAR}
    assert opened.manifest.data.rows == 303
    assert opened.manifest.parity.largest_difference <= 1e-6
    assert opened.manifest.parity.rows == 10_303


@pytest.mark.parametrize("name", [*FILES, LINEAR])
def test_a_flipped_byte_is_found_in_every_file(path: Path, name: str) -> None:
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        Bundle.open(path)


@pytest.mark.parametrize("name", [*FILES, LINEAR, MANIFEST])
def test_a_missing_file_is_named(path: Path, name: str) -> None:
    (path / name).unlink()
    with pytest.raises(BundleError, match=f"{name} cannot be read"):
        Bundle.open(path)


def test_another_manifest_is_not_the_bundle_asked_for(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="expected " + path.name):
        Bundle.open(path, path.name)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {}, "format": 99}', '{"files": {}, "format": 2}'])
def test_what_is_no_manifest_is_refused(path: Path, text: str) -> None:
    (path / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=MANIFEST + "|format"):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        (1, "healthrisk 0.1 wrote it in format 1, and this version reads format 2: train the model again, or serve"),
        (99, "its format is 99, and this version reads format 2: use the version that wrote it"),
        ("two", "its format is 'two'"),
    ],
)
def test_another_format_is_refused_with_what_to_do(path: Path, written: object, advice: str) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(manifest | {"format": written}))
    with pytest.raises(BundleError, match=advice):
        Bundle.open(path)


def test_a_manifest_without_an_origin_is_refused_by_the_field(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["data"]["sha256"]
    (path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"MANIFEST.json is not valid: data.sha256: Field required"):
        Bundle.open(path)


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fill(path: Path) -> Provenance:
        (path / LINEAR).write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        bundle.write(tmp_path, fill)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from healthrisk.atomic import scratch_folder\n"
        "with scratch_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('x'); print('writing', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(BundleError, match=r"spec.json cannot be read"):
        bundle.write(tmp_path, lambda path: sample_bundle.provenance("heart-disease", "random_forest"))
    assert list(tmp_path.iterdir()) == []
