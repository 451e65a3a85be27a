"""The record of use as real servers write it: over every protocol, of every request, before its answer leaves."""

import csv
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from healthrisk.receipts.token import number_of
from healthrisk.records.places import open_place
from healthrisk.records.verify import Rules, verify
from tests.support import http
from tests.support.commands import healthrisk
from tests.support.patience import ANSWER, run, until
from tests.support.records import RECORD_KEY, entries_in, record_variables
from tests.support.servers import PATIENT, Pair, Server

CALLER = "ward-7"

pytestmark = pytest.mark.slow
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def pair(folder: Path, make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A served model that writes a record. Its predictor has the same variables, and writes none."""
    bundle = make_bundle("heart-disease", "logistic_regression")
    started = start_pair(bundle, *PATIENT, "--max_rows=2000", environment=record_variables(folder))
    yield started
    started.end()


@pytest.fixture(scope="module")
def explainer(folder: Path, pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--predictor_host=127.0.0.1:1", "--enable_grpc=false", *PATIENT)
    log = tmp_path_factory.mktemp("explainer") / "log"
    server = Server("explainer.py", pair.bundle.path, log, options, record_variables(folder)).start().wait()
    yield server
    server.end()


@pytest.fixture
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle("heart-disease", "logistic_regression")


@pytest.fixture
def start(bundle: Path, start_pair: Callable[..., Pair]) -> Iterator[Callable[..., Pair]]:
    """Return a starter of a pair of its own that writes a record below a folder."""
    pairs: list[Pair] = []

    def begin(folder: Path, **environment: str) -> Pair:
        pairs.append(start_pair(bundle, *PATIENT, environment=record_variables(folder) | environment))
        return pairs[-1]

    yield begin
    for one in pairs:
        one.end()


@pytest.fixture
def rows(pair: Pair, raw_rows: Rows) -> list[dict[str, Any]]:
    return raw_rows(pair.bundle.path)[:3]


def over_grpc(pair: Pair, tensors: list[dict[str, Any]]) -> list[str]:
    message = pb.ModelInferRequest(model_name=pair.bundle.spec.name)
    for given in tensors:
        tensor = message.inputs.add(name=given["name"], datatype="FP64", shape=given["shape"])
        tensor.contents.fp64_contents.extend(np.nan if value is None else value for value in given["data"])
    with grpc.insecure_channel(pair.transformer.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(message, timeout=ANSWER, metadata=(("x-caller", CALLER),))
    return answer.parameters["receipt"].string_param.split(" ")


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_the_same_patients_are_found_whatever_protocol_they_were_asked_about_in(
    pair: Pair, explainer: Server, folder: Path, rows: list[dict[str, Any]], as_tensors: Any, tmp_path: Path
) -> None:
    before, caller, tensors = len(entries_in(folder)), {"x-caller": CALLER}, as_tensors(pair.bundle, rows)
    v1 = http.post(pair.predict_url, json={"instances": rows}, headers=caller).json()["predictions"]
    v2 = http.post(pair.infer_url, json={"inputs": tensors}, headers=caller).json()
    receipts = [
        [one["receipt"] for one in v1],
        v2["parameters"]["receipt"].split(" "),
        over_grpc(pair, tensors),
    ]
    explain = f"{explainer.url}/v1/models/{pair.bundle.spec.name}:explain"
    assert http.post(explain, json={"instances": rows}).status_code == 200
    new = sorted(entries_in(folder), key=lambda one: one.time)[before:]
    model, version = pair.bundle.spec.name, pair.bundle.digest
    assert [(one.asked, one.protocol, one.caller) for one in new] == [
        *(("predict", protocol, CALLER) for protocol in ("v1", "v2", "grpc")),
        ("explain", "v1", None),
    ]
    assert {(one.model, one.digest, one.rows, one.status, one.reason) for one in new} == {
        (model, version, 3, 200, None)
    }
    assert len({one.inputs for one in new}) == 1
    assert len(set(new[0].inputs)) == 3
    assert [list(one.receipts) for one in new] == [*([number_of(text).hex() for text in own] for own in receipts), []]
    # By one of the patients, as a request or as a table, and by one of the receipts.
    (tmp_path / "v1.json").write_text(json.dumps({"instances": rows[1:2]}))
    (tmp_path / "v2.json").write_text(json.dumps({"inputs": as_tensors(pair.bundle, rows[1:2])}))
    write_table(tmp_path / "table.csv", rows[1:2])
    for name in ("v1.json", "v2.json", "table.csv"):
        assert found(folder, "--rows", tmp_path / name)[-4:] == [one.model_dump(mode="json") for one in new]
    assert found(folder, "--receipt", receipts[2][0]) == [new[2].model_dump(mode="json")]
    (tmp_path / "other.json").write_text(json.dumps({"instances": [{**rows[0], "age": 110}]}))
    assert found(folder, "--rows", tmp_path / "other.json") == []


def found(folder: Path, *what: object) -> list[dict[str, Any]]:
    """Return what `records find` finds, by the time of the requests."""
    done = healthrisk("records", "find", folder, *what, HEALTHRISK_RECORD_KEY=f"{'newer' * 8} {RECORD_KEY}")
    assert done.returncode == 0, done.stderr
    return sorted((one["entry"] for one in json.loads(done.stdout)["found"]), key=lambda one: one["time"])


def test_what_is_refused_is_written_down_too(pair: Pair, folder: Path, rows: list[dict[str, Any]]) -> None:
    before = len(entries_in(folder))
    wrong = {**rows[0], "age": 1234.5}
    assert http.post(pair.predict_url, json={"instances": [wrong]}).status_code == 400
    assert http.post(pair.infer_url, content=b"{").status_code == 400
    with grpc.insecure_channel(pair.transformer.grpc) as channel, pytest.raises(grpc.RpcError):
        GRPCInferenceServiceStub(channel).ModelInfer(pb.ModelInferRequest(model_name="other"), timeout=ANSWER)
    # Who asks for anything else asks for no inference.
    assert http.get(f"{pair.transformer.url}/v2").status_code == 200
    assert http.post(f"{pair.transformer.url}/v2/models/other/infer", json={}).status_code == 404
    new = entries_in(folder)[-3:]
    assert len(entries_in(folder)) == before + 3
    assert [(one.protocol, one.status, one.reason, one.rows, one.inputs) for one in new] == [
        ("v1", 400, "range", 0, ()),
        ("v2", 400, "json", 0, ()),
        ("grpc", 404, "not_found", 0, ()),
    ]
    written = b"".join(path.read_bytes() for path in folder.glob("*/*"))
    assert b"1234.5" not in written


def test_a_large_request_has_the_digest_of_each_row(pair: Pair, folder: Path, raw_rows: Rows) -> None:
    rows = (raw_rows(pair.bundle.path) * 8)[:2000]
    answer = http.post(pair.predict_url, json={"instances": rows}).json()["predictions"]
    one = entries_in(folder)[-1]
    assert (one.rows, len(one.inputs), len(one.receipts)) == (2000, 2000, 2000)
    assert list(one.receipts) == [number_of(row["receipt"]).hex() for row in answer]


@pytest.mark.parametrize("given", ["two words", "ä", "x" * 129, ""])
def test_what_is_no_name_is_no_caller(pair: Pair, folder: Path, rows: list[dict[str, Any]], given: str) -> None:
    headers = {"x-caller": given.encode()}
    assert http.post(pair.predict_url, json={"instances": rows[:1]}, headers=headers).status_code == 200
    assert entries_in(folder)[-1].caller is None


def test_the_record_counts_and_is_sealed_when_the_server_stops(
    tmp_path: Path, bundle: Path, start: Callable[..., Pair], raw_rows: Rows
) -> None:
    pair = start(tmp_path)
    for _ in range(3):
        assert http.post(pair.predict_url, json={"instances": raw_rows(bundle)[:1]}).status_code == 200
    assert 'prediction_records_total{model="heart-disease"} 3.0' in http.get(pair.transformer.metrics).text
    assert pair.transformer.end(signal.SIGTERM) == 0
    (verdict,) = verify(open_place(str(tmp_path)), Rules()).chains
    # The opening, three entries, the seal.
    assert (verdict.fault, verdict.entries, verdict.line) == (None, 3, 5)


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte; return the file that takes the room."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return disk / "filler"


@pytest.mark.parametrize(("choice", "status"), [("refuse", 503), ("answer", 200)])
def test_a_full_disk_stops_answers_or_is_counted_and_the_record_goes_on_when_there_is_room(
    small_disk: Path,
    choice: str,
    status: int,
    bundle: Path,
    start: Callable[..., Pair],
    raw_rows: Rows,
) -> None:
    pair = start(small_disk, HEALTHRISK_UNRECORDED=choice)
    body = {"instances": raw_rows(bundle)[:1]}
    receipts = [http.post(pair.predict_url, json=body).json()["predictions"][0]["receipt"]]
    filler = fill(small_disk)
    # Until the page that the file has already is full as well.
    until(lambda: "prediction_records_failed_total" in sent(pair, body))
    answer = http.post(pair.predict_url, json=body)
    assert answer.status_code == status
    if status == 503:
        assert "cannot be written" in answer.json()["error"]
        assert answer.headers["retry-after"]
        assert 'prediction_rejected_total{model="heart-disease",reason="record_unavailable"}' in metrics(pair)
    assert http.get(f"{pair.transformer.url}/v2/health/ready").status_code == 200
    assert "No space left on device" in until(lambda: complaint(pair))
    filler.unlink()
    receipts += [http.post(pair.predict_url, json=body).json()["predictions"][0]["receipt"] for _ in range(3)]
    written = {receipt for one in entries_in(small_disk) for receipt in one.receipts}
    assert {number_of(receipt).hex() for receipt in receipts} <= written


def metrics(pair: Pair) -> str:
    return http.get(pair.transformer.metrics).text


def sent(pair: Pair, body: dict[str, Any]) -> str:
    """Ask once more, and return the counters of failures that are not zero."""
    http.post(pair.predict_url, json=body)
    lines = metrics(pair).splitlines()
    return "\n".join(line for line in lines if "records_failed_total{" in line and not line.endswith(" 0.0"))


def complaint(pair: Pair) -> str:
    lines = pair.transformer.log.read_text().splitlines()
    return "\n".join(line for line in lines if "the record of use cannot be written" in line)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"HEALTHRISK_RECORD_KEY": ""}, "HEALTHRISK_RECORD_KEY is missing"),
        ({"HEALTHRISK_RECORD_KEY": "short-but-mine"}, "HEALTHRISK_RECORD_KEY: key 1 is shorter than 32 characters"),
        ({"HEALTHRISK_UNRECORDED": "perhaps"}, "HEALTHRISK_UNRECORDED 'perhaps': expected refuse or answer"),
        ({"HEALTHRISK_RECORDS": "/dev/null/records"}, "cannot be written"),
    ],
)
def test_a_record_that_cannot_be_kept_stops_the_server_at_its_start(
    given: dict[str, str], said: str, bundle: Path, tmp_path: Path
) -> None:
    server = Server("transformer.py", bundle, tmp_path / "log", ("--predictor_host=127.0.0.1:1",))
    done = run(server.command(), env={"PATH": "", **record_variables(tmp_path), **given})
    assert done.returncode == 1
    assert said in done.stderr
    assert "short-but-mine" not in done.stdout + done.stderr


def test_without_a_folder_there_is_no_record(heart_pair: Pair, raw_rows: Rows) -> None:
    assert (
        http.post(heart_pair.predict_url, json={"instances": raw_rows(heart_pair.bundle.path)[:1]}).status_code == 200
    )
    assert "prediction_records_total" not in metrics(heart_pair)
