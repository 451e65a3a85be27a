"""The serving image: small, quick to be ready, and right, asked from outside."""

import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.inference.scorer import golden_matrix
from healthrisk.serving.client import ServedModel
from tests.support.servers import free_ports

MEGABYTES = 350
READY_SECONDS = 3.0


@pytest.fixture(scope="module")
def serving(image: Callable[[str], str]) -> str:
    return image("serving")


@pytest.fixture(scope="module")
def bundle(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    script = root / "tests" / "kserve" / "sample_bundle.py"
    command = [sys.executable, str(script), str(tmp_path_factory.mktemp("bundles")), "--family=logistic_regression"]
    path = Path(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.strip())
    # In the container another user reads it.
    path.chmod(0o755)
    return Bundle.open(path)


@pytest.fixture(scope="module")
def served(serving: str, bundle: Bundle, in_image: Callable[..., list[str]]) -> Iterator[tuple[str, float]]:
    """Start both servers from the image; yield the transformer's address and the seconds until it was ready."""
    ports = free_ports(4)
    names = []
    try:
        for script, (http, grpc), options in (
            ("predictor", ports[:2], []),
            ("transformer", ports[2:], [f"--predictor_host=127.0.0.1:{ports[0]}"]),
        ):
            names.append(f"healthrisk-test-{script}-{uuid.uuid4().hex[:8]}")
            words = ["python", f"/opt/healthrisk/kserve/{script}.py", f"--bundle={bundle.path}"]
            words += [f"--digest={bundle.digest}", f"--http_port={http}", f"--grpc_port={grpc}", *options]
            own = ("--detach", f"--name={names[-1]}", "--memory=512m")
            command = in_image(serving, *words, mounts={bundle.path: "ro"}, options=own)
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            began = time.monotonic()
            _wait(f"http://127.0.0.1:{http}/v2/health/ready", names[-1])
        yield f"http://127.0.0.1:{ports[2]}", time.monotonic() - began
    finally:
        subprocess.run(["docker", "rm", "--force", *names], check=True, capture_output=True, timeout=60)


def _wait(url: str, name: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=2).status_code == 200:
                return
        time.sleep(0.02)
    logs = subprocess.run(["docker", "logs", name], check=False, capture_output=True, text=True, timeout=30)
    raise TimeoutError(logs.stdout + logs.stderr)


def test_the_image_is_small(serving: str) -> None:
    layers = subprocess.run(
        ["docker", "history", "--no-trunc", "--human=false", "--format", "{{json .}}", serving],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    steps = [json.loads(line) for line in layers.stdout.splitlines()]
    ours = next(place for place, step in enumerate(steps) if "ARG REVISION" in step["CreatedBy"])
    assert sum(int(step["Size"]) for step in steps[: ours + 1]) <= MEGABYTES * 1e6


@pytest.mark.parametrize("name", ["serving", "pipeline"])
def test_nothing_in_an_image_can_install_or_compile(
    name: str, image: Callable[[str], str], in_image: Callable[..., list[str]]
) -> None:
    script = "id -u; for tool in pip pip3 gcc cc make; do command -v $tool; done; python -c 'import pip'; true"
    done = subprocess.run(
        in_image(image(name), "sh", "-c", script, mounts={}), check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["65532"]
    assert "No module named 'pip'" in done.stderr


def test_a_container_is_ready_soon(served: tuple[str, float]) -> None:
    assert served[1] <= READY_SECONDS


def test_the_image_answers_as_the_bundle_says(served: tuple[str, float], bundle: Bundle) -> None:
    golden = bundle.read_json("golden.json")
    rows = golden_matrix(bundle.spec, golden["rows"])
    with contextlib.closing(ServedModel(served[0], bundle.spec)) as model:
        answers = model.probabilities(rows)
    np.testing.assert_allclose(answers, golden["probability"], atol=1e-6)


def test_the_image_refuses_bad_input(served: tuple[str, float], bundle: Bundle) -> None:
    inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [1e9]} for name in bundle.spec.features]
    url = f"{served[0]}/v2/models/{bundle.spec.name}/infer"
    answer = httpx.post(url, json={"inputs": inputs}, timeout=10)
    assert answer.status_code == 400
    assert bundle.spec.features[0] in answer.json()["error"]
