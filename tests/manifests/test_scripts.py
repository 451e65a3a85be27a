"""The shell scripts of the platform: clean by shellcheck, and honest where there is no cluster."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import patience

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    *(ROOT / "kind" / name for name in ("up", "down", "status", "preflight", "image-tag", "lib.sh")),
    *(ROOT / "manifests" / name for name in ("install", "secrets", "render", "images")),
]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return patience.run([*words], cwd=ROOT, env={**os.environ, **environment})


def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = run(str(shellcheck), "-x", *map(str, SCRIPTS))
    assert done.returncode == 0, done.stdout


def test_every_script_stops_at_the_first_error() -> None:
    for script in SCRIPTS:
        assert "set -euo pipefail" in script.read_text() or script.name == "lib.sh", script


@pytest.mark.parametrize("script", ["kind/status", "manifests/install"])
def test_no_cluster_is_one_line(script: str, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl here")
    done = run(script, KUBECONFIG=str(tmp_path / "none"), KUBE_CONTEXT="nowhere")
    assert done.returncode == 1
    assert "error: no cluster answers in context nowhere" in done.stderr.splitlines()[-1]


def test_preflight_names_what_is_short(tmp_path: Path) -> None:
    done = run("kind/preflight", PATH=f"{tmp_path}:/usr/bin:/bin")
    verdicts = [line.split()[0] for line in done.stdout.splitlines()]
    assert set(verdicts) <= {"ok", "MISSING", "note"}
    assert len(verdicts) == 9
    assert done.stderr == ""
    assert done.returncode == (1 if "MISSING" in verdicts else 0)


def test_preflight_notes_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8888))
        except OSError:
            pytest.skip("port 8888 is somebody's already")
        taken.listen()
        done = run("kind/preflight")
    assert "8888" in next(line for line in done.stdout.splitlines() if line.startswith("note    ports: taken are"))


def test_a_profile_that_is_none_is_refused() -> None:
    done = run("kind/preflight", PROFILE="huge")
    assert done.returncode == 1
    assert done.stderr == "error: PROFILE=huge: expected small or full\n"


def test_an_images_tag_is_its_content() -> None:
    first, again = run("kind/image-tag", "serving").stdout, run("kind/image-tag", "serving").stdout
    assert first == again
    assert first.startswith("healthrisk/serving:python3.11-")


def test_every_image_is_listed_under_the_one_registry() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl here")
    done = run("manifests/images", PARTS="kind model-kind", REGISTRY="registry.hospital.example/mirror")
    assert done.returncode == 0, done.stderr
    listed = done.stdout.splitlines()
    assert {name.partition("/mirror/")[0] for name in listed} == {"registry.hospital.example"}
    names = {re.split("[:@]", name.partition("/mirror/")[2])[0] for name in listed}
    assert names == {
        *("healthrisk/pipeline", "healthrisk/serving", "kindest/node", "library/postgres"),
        *("prom/prometheus", "prom/pushgateway", "grafana/grafana", "versity/versitygw"),
    }
