"""The serving image: small and right, asked from outside."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.inference.scorer import golden_matrix
from healthrisk.serving.client import ServedModel
from tests.support import http
from tests.support.patience import run, until
from tests.support.servers import free_ports

MEGABYTES = 350


@pytest.fixture(scope="module")
def serving(image: Callable[[str], str]) -> str:
    return image("serving")


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Bundle:
    path = make_bundle("heart-disease", "logistic_regression")
    # In the container another user reads it.
    path.chmod(0o755)
    return Bundle.open(path)


@pytest.fixture(scope="module")
def served(serving: str, bundle: Bundle, in_image: Callable[..., list[str]]) -> Iterator[str]:
    """Start both servers from the image; yield the transformer's address."""
    ports = free_ports(6)
    names = []
    try:
        for script, (rest, grpc, metrics), options in (
            ("predictor", ports[:3], []),
            ("transformer", ports[3:], [f"--predictor_host=127.0.0.1:{ports[0]}"]),
        ):
            names.append(f"healthrisk-test-{script}-{uuid.uuid4().hex[:8]}")
            words = ["python", f"/opt/healthrisk/kserve/{script}.py", f"--bundle={bundle.path}"]
            words += [f"--digest={bundle.digest}", f"--http_port={rest}", f"--grpc_port={grpc}"]
            words += [f"--metrics_port={metrics}", *options]
            own = ("--detach", f"--name={names[-1]}", "--memory=512m")
            started = run(in_image(serving, *words, mounts={bundle.path: "ro"}, options=own))
            assert started.returncode == 0, started.stderr
            until(lambda rest=rest: is_ready(rest), lambda: logs(names[-1]))
        yield f"http://127.0.0.1:{ports[3]}"
    finally:
        run(["docker", "rm", "--force", *names])


def is_ready(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return http.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200
    return False


def logs(name: str) -> str:
    done = run(["docker", "logs", name])
    return done.stdout + done.stderr


def test_the_image_is_small(serving: str) -> None:
    layers = run(["docker", "history", "--no-trunc", "--human=false", "--format", "{{json .}}", serving])
    steps = [json.loads(line) for line in layers.stdout.splitlines()]
    ours = next(place for place, step in enumerate(steps) if "ARG REVISION" in step["CreatedBy"])
    assert sum(int(step["Size"]) for step in steps[: ours + 1]) <= MEGABYTES * 1e6


@pytest.mark.parametrize("name", ["serving", "pipeline"])
def test_nothing_in_an_image_can_install_or_compile(
    name: str, image: Callable[[str], str], in_image: Callable[..., list[str]]
) -> None:
    script = "id -u; for tool in pip pip3 gcc cc make; do command -v $tool; done; python -c 'import pip'; true"
    done = run(in_image(image(name), "sh", "-c", script, mounts={}))
    assert done.stdout.split() == ["65532"]
    assert "No module named 'pip'" in done.stderr


def test_the_image_answers_as_the_bundle_says(served: str, bundle: Bundle) -> None:
    golden = bundle.golden
    rows = golden_matrix(bundle.spec, golden.rows)
    with contextlib.closing(ServedModel(served, bundle.spec)) as model:
        answers = model.probabilities(rows)
    np.testing.assert_allclose(answers, golden.probability, atol=1e-6)


def test_the_image_refuses_bad_input(served: str, bundle: Bundle) -> None:
    inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [1e9]} for name in bundle.spec.features]
    url = f"{served}/v2/models/{bundle.spec.name}/infer"
    answer = http.post(url, json={"inputs": inputs})
    assert answer.status_code == 400
    assert bundle.spec.features[0] in answer.json()["error"]
