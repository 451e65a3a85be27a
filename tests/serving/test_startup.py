"""What happens before a server is ready: digests, golden rows, arguments, and `serve.py` around both servers."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from healthrisk.bundle import MANIFEST, Bundle
from healthrisk.bundle.trees import TREES
from healthrisk.inference.scorer import golden_matrix
from tests.support import http, sample_bundle
from tests.support.patience import ANSWER, run
from tests.support.servers import ROOT, Server
from tests.support.signing import key_pair

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_bundle("heart-disease", "logistic_regression"), tmp_path / "bundle"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_golden(folder: Path) -> None:
    """Change an answer and make every digest fit again."""
    golden = json.loads((folder / "golden.json").read_text())
    golden["probability"][3] = golden["probability"][3][::-1]
    (folder / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["golden.json"] = hashlib.sha256((folder / "golden.json").read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "one flipped byte": (lambda folder: flip(folder / "linear.json"), "linear.json"),
    "a flipped byte of a file not served": (lambda folder: flip(folder / "model.joblib"), "model.joblib"),
    "a missing file": (lambda folder: (folder / "reference.json").unlink(), "reference.json"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), MANIFEST),
    "a wrong golden answer": (change_golden, "golden row 3"),
    "not a bundle": (shutil.rmtree, "no such folder"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("script", ["predictor.py", "transformer.py"])
def test_bad_bundle_is_never_ready(copy: Path, tmp_path: Path, damage: str, script: str) -> None:
    damage_bundle, word = DAMAGES[damage]
    damage_bundle(copy)
    server = Server(script, copy, tmp_path / "log", ("--predictor_host=127.0.0.1:1",)).fork()
    code = wait_for_end(server)
    message = server.log.read_text()
    assert code == 1
    assert word in message
    assert "Traceback" not in message


@pytest.mark.parametrize("script", ["predictor.py", "transformer.py", "explainer.py"])
def test_what_nobody_signed_is_refused_before_a_server_is_ready(copy: Path, tmp_path: Path, script: str) -> None:
    hop = ("--predictor_host=127.0.0.1:1",)
    server = Server(script, copy, tmp_path / "log", hop, key_pair().believes).fork()
    assert wait_for_end(server) == 1
    message = server.log.read_text()
    assert "is unsigned: expected model.sig" in message
    assert "Traceback" not in message


def test_a_server_says_how_its_bundle_is_signed(copy: Path, tmp_path: Path) -> None:
    said = []
    for believed in ({}, key_pair().believes):
        server = Server("predictor.py", copy, tmp_path / f"log-{len(said)}", (), believed).fork().wait()
        server.end()
        lines = map(json.loads, server.log.read_text().splitlines())
        said += [line["signature"] for line in lines if line["message"] == "serving"]
        Bundle.open(copy).sign(key_pair().private)
    assert said[0] == "unsigned"
    assert said[1].startswith("signed by ")
    assert len(said) == 2


def wait_for_end(server: Server) -> int:
    """Wait for a process to end, and see that it is never ready meanwhile."""
    deadline = time.monotonic() + ANSWER
    assert server.process is not None
    while server.process.poll() is None:
        assert time.monotonic() < deadline, "the server did not end"
        with pytest.raises(httpx.TransportError):
            http.get(f"{server.url}/v2/health/ready")
        time.sleep(0.1)
    return server.process.returncode


@pytest.fixture(scope="module")
def wrong_kernel() -> dict[str, str]:
    """Return the environment of a process that has onnxruntime 1.26.0, whose forests of two classes are wrong."""
    (folder, *_) = [*(ROOT / ".tools" / "onnxruntime").glob("lib/*/site-packages"), None]
    if folder is None:
        pytest.skip("onnxruntime 1.26.0 is not here: make test-tools")
    environment = {"PYTHONPATH": str(folder)}
    code = "import onnxruntime; print(onnxruntime.__version__)"
    assert run([sys.executable, "-c", code], env=os.environ | environment).stdout == "1.26.0\n"
    return environment


@pytest.mark.parametrize("leaf", [1, 5], ids=["a graph", "a graph beside tables"])
def test_a_server_whose_kernel_scores_wrongly_is_never_ready(
    wrong_kernel: dict[str, str], tmp_path: Path, leaf: int
) -> None:
    """By microsoft/onnxruntime#28557 the first of two classes has minus the second's probability."""
    bundle = sample_bundle.build("heart-disease", "random_forest", tmp_path / "bundles", min_samples_leaf=leaf)
    assert (bundle / TREES).exists() == (leaf > 1)
    server = Server("predictor.py", bundle, tmp_path / "log", (), wrong_kernel).start()
    assert wait_for_end(server) == 1
    message = server.log.read_text()
    assert re.search(r"golden row \d+ of 20 is answered 1, more than 1e-06, away from golden\.json", message)
    assert "Traceback" not in message


@pytest.mark.parametrize(("dataset", "family"), [("obesity", "random_forest"), ("heart-disease", "gradient_boosting")])
def test_a_server_is_ready_with_what_that_kernel_scores_rightly(
    wrong_kernel: dict[str, str], make_bundle: Callable[..., Path], tmp_path: Path, dataset: str, family: str
) -> None:
    bundle = Bundle.open(make_bundle(dataset, family))
    server = Server("predictor.py", bundle.path, tmp_path / "log", (), wrong_kernel).start().wait()
    try:
        inputs = bundle.preprocessor.transform(golden_matrix(bundle.spec, bundle.golden.rows))
        tensor = {"name": "features", "datatype": "FP32", "shape": inputs.shape, "data": inputs.ravel().tolist()}
        answer = http.post(f"{server.url}/v2/models/{dataset}/infer", json={"inputs": [tensor]}).raise_for_status()
        expected = [share for row in bundle.golden.probability for share in row]
        assert answer.json()["outputs"][0]["data"] == pytest.approx(expected, abs=1e-6)
    finally:
        server.end()


def test_what_a_wrong_kernel_would_score_is_not_registered(wrong_kernel: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.sample_bundle", tmp_path / "bundles"]
    done = run(command, env=os.environ | wrong_kernel, cwd=ROOT)
    assert done.returncode == 1
    assert re.search(
        r"BundleError: .*row \d+ of \d+ is answered 1, more than 1e-06, away from scikit-learn", done.stderr
    )
    assert not [*tmp_path.rglob("MANIFEST.json")]


def test_digest_must_match(copy: Path, tmp_path: Path) -> None:
    server = Server("predictor.py", copy, tmp_path / "log", ("--digest=" + "0" * 64,)).start()
    assert wait_for_end(server) == 1
    assert f"expected {'0' * 64}" in server.log.read_text()


def test_transformer_needs_a_predictor(copy: Path, tmp_path: Path) -> None:
    server = Server("transformer.py", copy, tmp_path / "log").start()
    assert wait_for_end(server) == 1
    assert "--predictor_host is missing" in server.log.read_text()


def test_arguments_that_kserve_injects(copy: Path, tmp_path: Path) -> None:
    predictor = Server("predictor.py", copy, tmp_path / "predictor", ("--model_name=risk",)).start()
    host = f"--predictor_host=127.0.0.1:{predictor.ports[0]}"
    options = ("--model_name", "risk", host, "--predictor_protocol", "v2", "--workers", "1")
    transformer = Server("transformer.py", copy, tmp_path / "transformer", options).start()
    try:
        for server in (predictor.wait(), transformer.wait()):
            assert http.get(f"{server.url}/v2/models/risk").json()["name"] == "risk"
        golden = json.loads((copy / "golden.json").read_text())
        answer = http.post(f"{transformer.url}/v1/models/risk:predict", json={"instances": golden["rows"]})
        served = [row["probability"] for row in answer.raise_for_status().json()["predictions"]]
        assert served == pytest.approx([row[1] for row in golden["probability"]], abs=1e-6)
    finally:
        predictor.end()
        transformer.end()


def test_a_challenger_answers_to_its_models_name_and_is_counted_under_its_own(copy: Path, tmp_path: Path) -> None:
    predictor = Server("predictor.py", copy, tmp_path / "predictor", ("--model_name=risk-challenger",)).fork()
    host = f"--predictor_host=127.0.0.1:{predictor.ports[0]}"
    options = ("--model_name=risk-challenger", "--public_name=risk", host)
    transformer = Server("transformer.py", copy, tmp_path / "transformer", options).fork()
    try:
        predictor.wait()
        transformer.wait()
        rows = json.loads((copy / "golden.json").read_text())["rows"]
        http.post(f"{transformer.url}/v1/models/risk:predict", json={"instances": rows}).raise_for_status()
        assert http.get(f"{transformer.url}/v2/models/risk").json()["name"] == "risk"
        assert http.get(f"{transformer.url}/v2/models/risk-challenger").status_code == 404
        with grpc.insecure_channel(transformer.grpc) as channel:
            stub = GRPCInferenceServiceStub(channel)
            assert stub.ModelReady(pb.ModelReadyRequest(name="risk"), timeout=ANSWER).ready
            described = stub.ModelMetadata(pb.ModelMetadataRequest(name="risk"), timeout=ANSWER)
            assert described.name == "risk"
        page = http.get(transformer.metrics).text
        counted = r'^prediction_requests_total\{code="200",model="risk-challenger",protocol="v1",.*\} 1\.0$'
        assert re.search(counted, page, re.MULTILINE)
        # By which a rollout sees drift: its rows are not the champion's.
        own = re.findall(
            r'^predictions_by_class_total\{class="\d",model="(.*?)",version=".*"\} (.*)$', page, re.MULTILINE
        )
        assert {name for name, _ in own} == {"risk-challenger"}
        assert sum(float(count) for _, count in own) == len(rows)
    finally:
        predictor.end()
        transformer.end()


@pytest.mark.parametrize("dataset", ["heart-disease", "obesity"])
@pytest.mark.parametrize("script", ["predictor.py", "transformer.py"])
def test_light(make_bundle: Callable[..., Path], tmp_path: Path, script: str, dataset: str) -> None:
    options = ("--predictor_host=127.0.0.1:1",)
    server = Server(script, make_bundle(dataset), tmp_path / "log", options).start().wait()
    try:
        assert server.rss() < 180
    finally:
        assert server.end(signal.SIGTERM) == 0


def imported(copy: Path, log: Path, **environment: str) -> set[str]:
    """Return the modules that a transformer has imported when it is ready."""
    environment |= {"PYTHONPROFILEIMPORTTIME": "1"}
    Server("transformer.py", copy, log, ("--predictor_host=127.0.0.1:1",), environment).start().wait().end()
    return set(re.findall(r"^import time: .*\| +([\w.]+)$", log.read_text(), re.MULTILINE))


def test_nothing_is_imported_that_no_server_needs(copy: Path, tmp_path: Path) -> None:
    """Nor what makes and sends traces, unless an endpoint for them is configured."""
    modules = imported(copy, tmp_path / "plain")
    assert "kserve.model_server" in modules
    heavy = {"sklearn", "scipy", "pandas", "matplotlib", "pyarrow.lib", "mlflow", "kfp", "joblib", "kubernetes"}
    tracing = {"opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"}
    assert not modules & (heavy | tracing)
    traced = imported(copy, tmp_path / "traced", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert tracing <= traced


def serve(port: int, *words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "kserve" / "serve.py"), f"--port={port}", *words]
    # In the background of a shell interrupts are ignored, and children inherit that, but no handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("named", "number"), [("by name", signal.SIGINT), ("by path", signal.SIGTERM)])
def test_serve_starts_and_ends_all(home: Path, tmp_path: Path, named: str, number: signal.Signals, port: int) -> None:
    """Of the champion of a data set, which is named as in every command."""
    shipped = ROOT / "components" / "healthrisk" / "datasets" / "heart-disease.yaml"
    # Under a name of its own: what counts is the one in the spec.
    dataset = "heart-disease" if named == "by name" else str(shutil.copy(shipped, tmp_path / "my-own.yaml"))
    (bundle,) = (home / "bundles" / "heart-disease").iterdir()
    shutil.copy(home / "mlflow.db", tmp_path)
    with serve(port, f"--dataset={dataset}", HEALTHRISK_HOME=str(tmp_path)) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(9)]
            assert bundle.name[:12] in "".join(lines), lines
            assert re.search(f"transformer  http://127.0.0.1:{port} ", "".join(lines)), lines
            assert lines[3].split() == ["explainer", f"http://127.0.0.1:{port + 6}"]
            command = "".join(lines[6:8]).strip().removeprefix("ask").strip()
            answer = json.loads(run(["bash", "-c", command]).stdout)
            assert answer["predictions"][0]["risk_level"]
            predict, explain = re.search(r"http\S+:predict", command), re.search(r"http\S+:explain", lines[8])
            assert predict
            assert explain
            answer = json.loads(run(["bash", "-c", command.replace(predict[0], explain[0])]).stdout)
            (explained,) = answer["explanations"]
            total = explained["base"] + sum(each["contribution"] for each in explained["contributions"])
            assert total == pytest.approx(explained["probability"], abs=1e-6)
            process.send_signal(number)
            assert process.wait(ANSWER) == 0
        finally:
            process.terminate()
    for offset in (0, 2, 6):
        with pytest.raises(httpx.TransportError):
            http.get(f"http://127.0.0.1:{port + offset}/v2/health/live")


def test_serve_refuses_a_bad_bundle(copy: Path, port: int) -> None:
    flip(copy / "spec.json")
    process = serve(port, f"--bundle={copy}")
    out, message = process.communicate(timeout=ANSWER)
    assert process.returncode == 1
    assert out == ""
    assert "spec.json" in message


def test_serve_without_a_champion(tmp_path: Path, port: int) -> None:
    process = serve(port, "--dataset=heart-disease", HEALTHRISK_HOME=str(tmp_path))
    _, message = process.communicate(timeout=ANSWER)
    assert process.returncode == 1
    assert "no champion yet" in message
