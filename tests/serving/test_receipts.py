"""Answers with receipts, over every protocol."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from healthrisk.receipts import probability_bins
from healthrisk.receipts.token import Reader, Receipt
from tests.support import http
from tests.support.patience import ANSWER, run
from tests.support.servers import Pair, Server

KEY = "the servers' key, of 32 letters or more".replace(" ", "-")
ROWS = 5


@pytest.fixture(scope="module", params=["heart-disease", "obesity"])
def pair(
    request: pytest.FixtureRequest, make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]
) -> Iterator[Pair]:
    """A served forest with a key; the older key is still believed, and signs nothing."""
    environment = {"HEALTHRISK_RECEIPT_KEY": f"{KEY} {'older' * 8}"}
    started = start_pair(make_bundle(request.param), "--log_level=debug", environment=environment)
    yield started
    started.end()


def v1(pair: Pair, rows: list[dict[str, Any]]) -> tuple[list[str], np.ndarray]:
    answers = http.post(pair.predict_url, json={"instances": rows}).json()["predictions"]
    shown = [answer["probability"] for answer in answers]
    return [answer["receipt"] for answer in answers], np.array(
        [p if isinstance(p, float) else [*p.values()] for p in shown]
    )


def v2(pair: Pair, rows: list[dict[str, Any]], tensors: Any) -> tuple[list[str], np.ndarray]:
    answer = http.post(pair.infer_url, json={"inputs": tensors(pair.bundle, rows)}).json()
    return answer["parameters"]["receipt"].split(" "), np.reshape(answer["outputs"][1]["data"], (len(rows), -1))


def binary(pair: Pair, rows: list[dict[str, Any]], tensors: Any) -> tuple[list[str], np.ndarray]:
    body = {"inputs": tensors(pair.bundle, rows), "parameters": {"binary_data_output": True}}
    answer = http.post(pair.infer_url, json=body)
    head = json.loads(answer.content[: int(answer.headers["inference-header-content-length"])])
    return head["parameters"]["receipt"].split(" "), np.empty((0, 0))


def over_grpc(pair: Pair, rows: list[dict[str, Any]], tensors: Any) -> tuple[list[str], np.ndarray]:
    message = pb.ModelInferRequest(model_name=pair.bundle.spec.name)
    for given in tensors(pair.bundle, rows):
        tensor = message.inputs.add(name=given["name"], datatype=given["datatype"], shape=given["shape"])
        if given["datatype"] == "BYTES":
            tensor.contents.bytes_contents.extend((value or "").encode() for value in given["data"])
        else:
            tensor.contents.fp64_contents.extend(np.nan if value is None else value for value in given["data"])
    with grpc.insecure_channel(pair.transformer.grpc) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=ANSWER)
    return answer.parameters["receipt"].string_param.split(" "), np.empty((0, 0))


def test_every_protocol_gives_each_row_its_receipt(pair: Pair, raw_rows: Any, as_tensors: Any) -> None:
    rows = raw_rows(pair.bundle.path)[:ROWS]
    answers = [
        v1(pair, rows),
        v2(pair, rows, as_tensors),
        binary(pair, rows, as_tensors),
        over_grpc(pair, rows, as_tensors),
    ]
    reader = Reader((KEY.encode(),))
    read: list[list[Receipt]] = [[reader.read(text) for text in texts] for texts, _ in answers]
    said = [[(r.model, r.digest, r.bins, r.groups) for r in receipts] for receipts in read]
    assert said[0] == said[1] == said[2] == said[3]
    assert len(said[0]) == ROWS
    assert {(model, digest) for model, digest, *_ in said[0]} == {(pair.bundle.spec.name, pair.bundle.digest)}
    # No two are the same, whatever they say.
    assert len({receipt.number for receipts in read for receipt in receipts}) == 4 * ROWS
    shown = answers[1][1]
    bins = probability_bins.bins(probability_bins.probabilities(pair.bundle.spec, shown.astype(np.float32)))
    assert [receipt.bins for receipt in read[1]] == [tuple(row) for row in bins.tolist()]
    logs = pair.logs()
    assert not any(text[-22:] in logs for texts, _ in answers for text in texts)


def test_without_a_key_answers_bear_no_receipt(heart_pair: Pair, raw_rows: Any, as_tensors: Any) -> None:
    rows = raw_rows(heart_pair.bundle.path)[:1]
    answer = http.post(heart_pair.infer_url, json={"inputs": as_tensors(heart_pair.bundle, rows)}).json()
    assert "receipt" not in answer["parameters"]
    assert "receipt" not in http.post(heart_pair.predict_url, json={"instances": rows}).json()["predictions"][0]


@pytest.mark.slow
def test_a_key_that_is_too_short_stops_the_server(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    server = Server("transformer.py", make_bundle(), tmp_path / "log", ("--predictor_host=127.0.0.1:1",))
    done = run(server.command(), env={"PATH": "", "HEALTHRISK_RECEIPT_KEY": "short-but-mine"})
    assert done.returncode == 1
    assert "HEALTHRISK_RECEIPT_KEY" in done.stderr
    assert "short-but-mine" not in done.stdout + done.stderr
