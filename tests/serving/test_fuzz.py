"""No single input makes a server fail: whatever is sent gets an answer, and never a 500.

What fails is made as small as it can be; `make fuzz` sends as much as it can.
"""

import copy
import json
import re
from collections import Counter
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.support import http
from tests.support.mutation import mutate
from tests.support.patience import ANSWER

EXAMPLES = 60
CHECKS = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large)
quick = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=CHECKS, database=None)
REFUSALS = {400, 413}
SENT: Counter[str] = Counter()
CODES = grpc.StatusCode
STATUSES = {CODES.OK, CODES.INVALID_ARGUMENT, CODES.NOT_FOUND, CODES.RESOURCE_EXHAUSTED}

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)

pytestmark = pytest.mark.slow


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """Return a document with some of its parts replaced, removed, doubled or nested."""
    document, chance = copy.deepcopy(document), draw(st.randoms(use_true_random=False))
    for junk in draw(st.lists(ANYTHING, max_size=3)):
        mutate(document, chance, [junk])
    return document


@pytest.fixture(params=["heart", "obesity"])
def pair(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_pair")


@pytest.fixture
def rows(pair: Any) -> list[dict[str, Any]]:
    golden = pair.bundle.golden
    return [dict(zip(golden.features, row, strict=True)) for row in golden.rows[:2]]


def expect_answer(client: httpx.Client, url: str, content: bytes, **headers: str) -> None:
    SENT["REST"] += 1
    answer = client.post(url, content=content, headers=headers)
    if answer.status_code != 200:
        assert answer.status_code in REFUSALS, (answer.status_code, answer.text, content[:2000])
        assert answer.json()["error"]


def dump(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_mutated_v2(pair: Any, rows: Any, as_tensors: Any, client: httpx.Client) -> None:
    good = {"id": "a", "inputs": as_tensors(pair.bundle, rows), "outputs": [{"name": "probability", "parameters": {}}]}

    @quick
    @given(mutated(good))
    def run(document: Any) -> None:
        expect_answer(client, pair.infer_url, dump(document))

    run()


def test_mutated_v1(pair: Any, rows: Any, client: httpx.Client) -> None:
    @quick
    @given(mutated({"instances": rows}))
    def run(document: Any) -> None:
        expect_answer(client, pair.predict_url, dump(document))

    run()


def test_any_json_and_any_bytes(pair: Any, client: httpx.Client) -> None:
    @quick
    @given(ANYTHING.map(dump) | st.binary(max_size=200), st.sampled_from([pair.infer_url, pair.predict_url]))
    def run(content: bytes, url: str) -> None:
        expect_answer(client, url, content)

    run()


def test_mutated_binary(pair: Any, rows: Any, client: httpx.Client) -> None:
    inputs = [
        {"name": name, "datatype": "FP64", "shape": [2], "parameters": {"binary_data_size": 16}} for name in rows[0]
    ]

    @quick
    @given(mutated({"inputs": inputs}), st.binary(max_size=300), st.integers(-3, 3), st.booleans())
    def run(document: Any, tail: bytes, shift: int, full: bool) -> None:
        head = dump(document)
        length = {"inference-header-content-length": str(len(head) + shift), "content-type": "application/octet-stream"}
        expect_answer(
            client, pair.infer_url, head + (tail * 300)[: 16 * len(inputs)] if full else head + tail, **length
        )

    run()


def test_mutated_predictor_input(pair: Any, client: httpx.Client) -> None:
    width = len(pair.bundle.preprocessor.outputs)
    good = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2, width], "data": [[0.5] * width] * 2}]}
    base, name = pair.predictor.url, pair.bundle.spec.name

    @quick
    @given(mutated(good), mutated({"instances": [[0.5] * width]}))
    def run(v2: Any, v1: Any) -> None:
        expect_answer(client, f"{base}/v2/models/{name}/infer", dump(v2))
        expect_answer(client, f"{base}/v1/models/{name}:predict", dump(v1))

    run()


@st.composite
def messages(draw: st.DrawFn, model: str, names: list[str]) -> Any:
    """Return a request for gRPC that may be good, and mostly is not."""
    message = pb.ModelInferRequest(model_name=draw(st.sampled_from([model, model, model, "", "other"])))
    message.id = draw(st.text(max_size=5))
    chosen = names if draw(st.booleans()) else draw(st.lists(st.sampled_from([*names, "x"]), max_size=len(names)))
    for name in chosen:
        shape = draw(st.sampled_from([[1], [1], [1], [2], [1, 1], [], [-1], [2**40]]))
        tensor = message.inputs.add(
            name=name, datatype=draw(st.sampled_from(["FP64", "INT64", "BYTES", "BOOL", "?"])), shape=shape
        )
        if draw(st.booleans()):
            tensor.contents.fp64_contents.extend(draw(st.lists(st.floats(), max_size=2)))
            tensor.contents.int64_contents.extend(draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=2)))
            tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=5), max_size=2)))
    if draw(st.booleans()):
        message.raw_input_contents.extend(draw(st.lists(st.binary(max_size=12), max_size=len(chosen) + 1)))
    for name in draw(st.lists(st.sampled_from(["probability", "x"]), max_size=2)):
        message.outputs.add(name=name)
    return message


def test_grpc(pair: Any) -> None:
    with grpc.insecure_channel(pair.transformer.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)

        @quick
        @given(messages(pair.bundle.spec.name, list(pair.bundle.spec.features)))
        def run(message: Any) -> None:
            SENT["gRPC"] += 1
            call = stub.ModelInfer.future(message, timeout=ANSWER)
            assert call.code() in STATUSES, (call.code(), call.details(), message)

        run()


def test_the_openapi_document_is_kept(heart_pair: Any) -> None:
    # Heavy: workers without this test need not wait for it.
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    document = schemathesis.openapi.from_url(f"{heart_pair.transformer.url}/openapi.json")
    operations = [result.ok() for result in document.get_all_operations()]
    assert len(operations) == 15
    for operation in operations:

        @quick
        @given(operation.as_strategy())
        def run(case: schemathesis.Case) -> None:
            SENT["by the OpenAPI document"] += 1
            # A request may fit the document and still leave a feature out, which is refused as documented.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        run()


def test_nothing_failed_within(heart_pair: Any, obesity_pair: Any) -> None:
    """As many requests were sent as were meant to be, and the servers' own counts hold no 500."""
    codes: Counter[str] = Counter()
    for server in (heart_pair.transformer, heart_pair.predictor, obesity_pair.transformer, obesity_pair.predictor):
        metrics = http.get(server.metrics).raise_for_status().text
        for code, count in re.findall(r'^prediction_requests_total{.*code="(\d+)".*} (\d+)', metrics, re.MULTILINE):
            codes[code] += int(count)
        assert "unexpected error" not in server.log.read_text()
    assert set(+codes) <= {"200", *map(str, REFUSALS), "404", "405", "415"}, codes
    # Five tests ask two models, a sixth both of them twice; what was tried already is not tried again.
    assert SENT.total() >= 13 * EXAMPLES
