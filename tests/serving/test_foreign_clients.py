"""Clients that nobody here wrote: Triton's, KServe's, MLServer's, grpcurl, ghz and curl get the offline answers."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.support.patience import run
from tests.support.servers import Pair

CLIENTS = ROOT / "tests" / "clients"
PYTHON = ROOT / ".tools" / "clients" / "bin" / "python"
SERVICE = "inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def row(heart_pair: Pair) -> dict[str, float]:
    """A whole row whose values BF16 holds exactly."""
    spec = heart_pair.bundle.spec
    golden = next(row for row in heart_pair.bundle.golden.rows if None not in row)
    return dict(zip(spec.features, golden, strict=True)) | {
        "trestbps": 130.0,
        "chol": 236.0,
        "oldpeak": 1.5,
        "thalach": 147.0,
    }


@pytest.fixture(scope="module")
def expected(heart_pair: Pair, row: dict[str, float], offline: Callable[..., np.ndarray]) -> list[float]:
    return offline(heart_pair.bundle, [row])[0].tolist()


def clients() -> Path:
    if not PYTHON.exists():
        pytest.skip("there are none of others' clients here: make test-tools")
    return PYTHON


def program(name: str) -> str:
    path = shutil.which(name, path=f"{ROOT / '.tools'}") or shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name} here: make test-tools")
    return path


def printed(command: list[Any], **options: Any) -> Any:
    done = run(command, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout)


def test_tritons_clients(heart_pair: Pair, row: dict[str, float], expected: list[float]) -> None:
    server, name = heart_pair.transformer, heart_pair.bundle.spec.name
    rest = server.url.removeprefix("http://")
    printed_by_clients = printed([clients(), CLIENTS / "triton.py", rest, server.grpc, name, json.dumps(row)])
    assert len(printed_by_clients["answers"]) == 10
    level = {tuple(answer["risk_level"]) for answer in printed_by_clients["answers"].values()}
    assert len(level) == 1
    for way, answer in printed_by_clients["answers"].items():
        assert np.allclose(answer["probability"], [expected], atol=1e-6), way
    described = printed_by_clients["server"]
    assert described["live"] is described["ready"] is True
    assert described["inputs"] == list(heart_pair.bundle.spec.features)
    assert {"binary_tensor_data", "model_configuration", "statistics"} <= set(described["extensions"])
    assert described["config"]["name"] == name
    assert [tensor["name"] for tensor in described["config"]["input"]] == described["inputs"]
    assert {"name": "risk_level", "data_type": "TYPE_STRING", "dims": [-1]} in described["config"]["output"]


def test_statistics_count_requests_and_rows(heart_pair: Pair, row: dict[str, float]) -> None:
    """Read twice around one answer of three rows and one refusal, as curl shows them."""
    url, curl = f"{heart_pair.transformer.url}/v2/models/{heart_pair.bundle.spec.name}", program("curl")

    def read() -> dict[str, Any]:
        (statistics,) = printed([curl, "--silent", f"{url}/stats"])["model_stats"]
        return statistics

    def post(document: Any) -> Any:
        body = json.dumps(document)
        return printed(
            [curl, "--silent", "--header", "content-type: application/json", "--data", body, heart_pair.predict_url]
        )

    before = read()
    assert len(post({"instances": [row] * 3})["predictions"]) == 3
    assert "error" in post({"instances": []})
    after = read()
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["execution_count"] - before["execution_count"] == 1
    for outcome in ("success", "fail"):
        then, now = before["inference_stats"][outcome], after["inference_stats"][outcome]
        assert now["count"] - then["count"] == 1
        assert now["ns"] > then["ns"]
    assert after["last_inference"] >= before["last_inference"]


def test_mlservers_codecs(heart_pair: Pair, row: dict[str, float], expected: list[float]) -> None:
    """The codec that each output names reads it; a data frame takes two numbers a patient where it asks for JSON."""
    rows = [row, {**row, "sex": 1.0 - row["sex"]}]
    answers = printed([clients(), CLIENTS / "mlserver_codecs.py", heart_pair.infer_url, json.dumps(rows)])
    assert set(answers["arrays"]) == {"prediction", "probability", "risk_level"}
    assert set(answers["frame"]) == {"probability", "risk_level"}
    assert answers["frame"]["risk_level"] == answers["arrays"]["risk_level"]
    for form in ("arrays", "frame"):
        assert np.shape(answers[form]["probability"]) == (2, 2)
        assert np.allclose(answers[form]["probability"][0], expected, atol=1e-6)
        assert len(answers[form]["risk_level"]) == 2


def test_mlservers_command(heart_pair: Pair, row: dict[str, float], expected: list[float], tmp_path: Path) -> None:
    inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [value]} for name, value in row.items()]
    (tmp_path / "in.jsonl").write_text(json.dumps({"inputs": inputs}) + "\n")
    address = heart_pair.transformer.url.removeprefix("http://")
    command = [clients().with_name("mlserver"), "infer", "--url", address]
    command += ["--model-name", heart_pair.bundle.spec.name]
    command += ["--input-data-path", tmp_path / "in.jsonl", "--output-data-path", tmp_path / "out.jsonl"]
    done = run(command)
    assert done.returncode == 0, done.stderr[-2000:]
    (answer,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    (probability,) = [output["data"] for output in answer["outputs"] if output["name"] == "probability"]
    assert np.allclose(np.ravel(probability), expected, atol=1e-6)


def test_kserves_clients(heart_pair: Pair, row: dict[str, float], expected: list[float]) -> None:
    server, name = heart_pair.transformer, heart_pair.bundle.spec.name
    answers = printed([sys.executable, CLIENTS / "kserve_sdk.py", server.url, server.grpc, name, json.dumps(row)])
    assert answers["ready"] is answers["grpc ready"] is True
    assert answers["v1"] == pytest.approx(expected[1], abs=1e-6)
    for way in ("v2", "grpc"):
        assert np.allclose(answers[way], [expected], atol=1e-6), way


def typed(model: str, row: dict[str, float], **parameters: Any) -> str:
    inputs = [
        {"name": name, "datatype": "FP64", "shape": [1], "contents": {"fp64_contents": [value]}}
        for name, value in row.items()
    ]
    return json.dumps({"model_name": model, "inputs": inputs, "parameters": parameters})


def test_grpcurl_needs_no_file(heart_pair: Pair, row: dict[str, float], expected: list[float]) -> None:
    server, grpcurl = heart_pair.transformer, program("grpcurl")
    listed = run([grpcurl, "-plaintext", server.grpc, "list"])
    assert {SERVICE, "grpc.health.v1.Health"} <= set(listed.stdout.split()), listed.stderr
    for given in ({}, {"service": SERVICE}):
        asked = [grpcurl, "-plaintext", "-d", json.dumps(given), server.grpc, "grpc.health.v1.Health/Check"]
        assert printed(asked) == {"status": "SERVING"}
    unknown = run([grpcurl, "-plaintext", "-d", '{"service": "other"}', server.grpc, "grpc.health.v1.Health/Check"])
    assert "NotFound" in unknown.stderr
    model = heart_pair.bundle.spec.name
    body = typed(model, row, binary_data_output={"bool_param": False})
    answer = printed([grpcurl, "-plaintext", "-d", body, server.grpc, f"{SERVICE}/ModelInfer"])
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert np.allclose(outputs["probability"]["contents"]["fp32_contents"], expected, atol=1e-6)
    assert outputs["probability"]["parameters"] == {"content_type": {"string_param": "np"}}
    assert outputs["prediction"]["contents"]["int64_contents"] == [str(int(np.argmax(expected)))]
    assert "raw_output_contents" not in answer
    wrong = typed(model, row, binary_data_output={"string_param": "no"})
    refused = run([grpcurl, "-plaintext", "-d", wrong, server.grpc, f"{SERVICE}/ModelInfer"])
    assert "InvalidArgument" in refused.stderr


def test_ghz_needs_no_file(heart_pair: Pair, row: dict[str, float]) -> None:
    command = [program("ghz"), "--insecure", "--call", f"{SERVICE}/ModelInfer", "--total=200", "--concurrency=8"]
    command += ["--timeout=180s", "--format=json", "--data", typed(heart_pair.bundle.spec.name, row)]
    summary = printed([*command, heart_pair.transformer.grpc])
    assert summary["statusCodeDistribution"] == {"OK": 200}


@pytest.mark.parametrize("version", ["http1.1", "http2-prior-knowledge"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", None])
def test_curl(
    heart_pair: Pair, row: dict[str, float], expected: list[float], tmp_path: Path, encoding: str | None, version: str
) -> None:
    body = json.dumps({"instances": [row] * 50}).encode()
    packing: list[Any] = []
    if encoding == "gzip":
        body, packing = gzip.compress(body), ["--header", "content-encoding: gzip", "--compressed"]
    elif encoding == "deflate":
        packing = ["--header", "accept-encoding: deflate", "--compressed"]
    (tmp_path / "body").write_bytes(body)
    command = [
        program("curl"),
        f"--{version}",
        "--silent",
        "--fail",
        "--header",
        "content-type: application/json",
        *packing,
    ]
    command += ["--data-binary", f"@{tmp_path}/body", "--dump-header", tmp_path / "head"]
    answer = printed([*command, heart_pair.predict_url])
    assert [one["probability"] for one in answer["predictions"]] == pytest.approx([expected[1]] * 50, abs=1e-6)
    head = (tmp_path / "head").read_text().lower()
    assert (f"content-encoding: {encoding}" in head) is (encoding is not None)
