"""The shell scripts of the platform: clean by shellcheck, and honest where there is no cluster."""

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.support.manifest_rules import script

ROOT = Path(__file__).parents[2]
KIND = ("up", "down", "status", "preflight", "image-tag", "save", "lib.sh")
MANIFESTS = ("install", "secrets", "keys", "stage", "pin", "mirror", "push", "list-images", "lib.sh")
SCRIPTS = [*(ROOT / "kind" / name for name in KIND), *(ROOT / "manifests" / name for name in MANIFESTS)]
# An engine that answers what preflight asks; a real one would be this machine's, whatever it is.
DOCKER = """#!/bin/sh
case "$*" in
  *CgroupVersion*) echo {cgroup} ;;
  version*) echo 28.0.0 ;;
  ps*) echo {node} ;;
  stats*) echo "{memory} / 15.6GiB" ;;
esac
"""


@pytest.mark.slow
def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = script(str(shellcheck), "-x", *map(str, SCRIPTS))
    assert done.returncode == 0, done.stdout


def test_every_script_stops_at_the_first_error() -> None:
    for path in SCRIPTS:
        assert "set -euo pipefail" in path.read_text() or path.name == "lib.sh", path


@pytest.mark.parametrize("name", ["kind/status", "manifests/install"])
def test_no_cluster_is_one_line(name: str, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl here: make test-tools")
    done = script(name, KUBECONFIG=str(tmp_path / "none"), KUBE_CONTEXT="nowhere")
    assert done.returncode == 1
    assert "error: no cluster answers in context nowhere" in done.stderr.splitlines()[-1]


def test_preflight_names_what_is_short(tmp_path: Path) -> None:
    done = script("kind/preflight", PATH=f"{tmp_path}:/usr/bin:/bin")
    verdicts = [line.split()[0] for line in done.stdout.splitlines()]
    assert set(verdicts) <= {"ok", "MISSING", "note"}
    assert len(verdicts) >= 10
    assert done.stderr == ""
    assert done.returncode == (1 if "MISSING" in verdicts else 0)


def test_preflight_notes_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8888))
        except OSError:
            pytest.skip("port 8888 is taken: end what listens there")
        taken.listen()
        done = script("kind/preflight")
    assert "8888" in next(line for line in done.stdout.splitlines() if line.startswith("note    ports: taken are"))


def test_a_profile_that_is_none_is_refused() -> None:
    done = script("kind/preflight", PROFILE="huge")
    assert done.returncode == 1
    assert done.stderr == "error: PROFILE=huge: expected small or full\n"


def test_an_images_tag_is_its_content() -> None:
    first, again = script("kind/image-tag", "serving").stdout, script("kind/image-tag", "serving").stdout
    assert first == again
    assert first.startswith("healthrisk/serving:python3.11-")


def engine(folder: Path, cgroup: int = 2, node: str = "", memory: str = "") -> str:
    """Put a docker into a folder; return a PATH on which it is the first."""
    program(folder / "docker", DOCKER.format(cgroup=cgroup, node=node, memory=memory))
    return f"{folder}:{os.environ['PATH']}"


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def verdict(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.split(maxsplit=1)[1].startswith(f"{name}:"))


def test_preflight_asks_no_more_of_a_cluster_that_is_there(tmp_path: Path) -> None:
    # More memory than any machine has free is needed, were it not for what the node holds.
    program(
        tmp_path / "awk",
        f"""#!/bin/sh
case "$*" in *MemAvailable*) echo 3 ;; *) exec {shutil.which("awk")} "$@" ;; esac
""",
    )
    before = script("kind/preflight", PROFILE="small", PATH=engine(tmp_path)).stdout
    assert verdict(before, "memory") == "MISSING memory: 3 GiB free, needed are 10"
    there = script("kind/preflight", PROFILE="small", PATH=engine(tmp_path, node="f00", memory="7.9GiB")).stdout
    assert verdict(there, "memory") == "ok      memory: 3 GiB free"
    assert "note    cluster healthrisk is there and holds 7 GiB of memory" in there


def test_preflight_advises_the_small_profile_only_beside_the_full_one(tmp_path: Path) -> None:
    program(tmp_path / "nproc", "#!/bin/sh\necho 1\n")
    for profile, expected in (
        ("full", "MISSING CPUs: 1 cores, needed are 6: PROFILE=small takes 4"),
        ("small", "MISSING CPUs: 1 cores, needed are 4"),
    ):
        done = script("kind/preflight", PROFILE=profile, PATH=engine(tmp_path))
        assert verdict(done.stdout, "CPUs") == expected


@pytest.mark.parametrize("version", [1, 2])
def test_preflight_says_the_version_of_control_groups(version: int, tmp_path: Path) -> None:
    line = verdict(script("kind/preflight", PATH=engine(tmp_path, cgroup=version)).stdout, "cgroup")
    assert line.startswith(f"{'ok     ' if version == 2 else 'note   '} cgroup: version {version}")
    assert "failCgroupV1: false" in (ROOT / "kind" / "cluster.yaml").read_text()


def test_preflight_needs_linux(tmp_path: Path) -> None:
    program(tmp_path / "uname", "#!/bin/sh\necho Darwin\n")
    done = script("kind/preflight", PATH=engine(tmp_path))
    assert verdict(done.stdout, "system").startswith("MISSING system: Darwin, needed is Linux")
    assert done.returncode == 1
    assert done.stderr == ""
