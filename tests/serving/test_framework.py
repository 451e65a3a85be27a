"""Our routes answer as the framework's own do: the same model behind kserve's server, asked the same."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serving import framework_server
from tests.support.servers import Pair, Server


@pytest.fixture(scope="module")
def framework(heart_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of kserve's own server on the heart model."""
    script = str(Path(framework_server.__file__))
    host = f"--predictor_host=127.0.0.1:{heart_pair.predictor.ports[0]}"
    server = Server(script, heart_pair.predictor.bundle, tmp_path_factory.mktemp("framework") / "log", (host,))
    yield server.start().wait().url
    server.end()


@pytest.fixture
def rows(heart_pair: Pair, raw_rows: Any) -> list[dict[str, Any]]:
    return raw_rows(heart_pair.bundle.path)[:40]


def both(framework: str, heart_pair: Pair, path: str, client: httpx.Client, **request: Any) -> list[httpx.Response]:
    answers = [
        client.post(f"{base}{path.format(heart_pair.bundle.spec.name)}", **request)
        for base in (framework, heart_pair.transformer.url)
    ]
    return [answer.raise_for_status() for answer in answers]


def matrix(rows: list[dict[str, Any]], pair: Pair) -> list[dict[str, Any]]:
    data = [list(row.values()) for row in rows]
    return [{"name": "features", "datatype": "FP64", "shape": [len(data), len(data[0])], "data": data}]


@pytest.mark.parametrize("more", [{"id": "one"}, {"id": "two", "outputs": [{"name": "risk_level"}]}])
@pytest.mark.parametrize("form", ["named", "matrix"])
def test_v2(
    framework: str,
    heart_pair: Pair,
    rows: Any,
    as_tensors: Callable[..., Any],
    client: httpx.Client,
    form: str,
    more: Any,
) -> None:
    inputs = as_tensors(heart_pair.bundle, rows) if form == "named" else matrix(rows, heart_pair)
    theirs, own = both(framework, heart_pair, "/v2/models/{}/infer", client, json={"inputs": inputs, **more})
    assert plain(own.json()) == plain(theirs.json())


def plain(document: Any) -> Any:
    """Return an answer without the fields that the framework sends as null, without our content types, which the
    framework does not send, and FP32 in its own precision.

    The framework writes a float32 with the digits of a float64.
    """
    if isinstance(document, dict):
        fields = {key: plain(value) for key, value in document.items() if key != "content_type"}
        return {key: value for key, value in fields.items() if value not in (None, {})}
    if isinstance(document, float):
        return float(np.float32(document))
    return [plain(value) for value in document] if isinstance(document, list) else document


def test_v2_binary_input(framework: str, heart_pair: Pair, rows: Any, client: httpx.Client) -> None:
    inputs, tail = [], b""
    for name in rows[0]:
        raw = np.array([row[name] for row in rows], dtype="<f8").tobytes()
        parameters = {"binary_data_size": len(raw)}
        inputs.append({"name": name, "datatype": "FP64", "shape": [len(rows)], "parameters": parameters})
        tail += raw
    head = json.dumps({"id": "three", "inputs": inputs}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    theirs, own = both(framework, heart_pair, "/v2/models/{}/infer", client, content=head + tail, headers=headers)
    assert plain(own.json()) == plain(theirs.json())


def test_v1(framework: str, heart_pair: Pair, rows: Any, client: httpx.Client) -> None:
    theirs, own = both(framework, heart_pair, "/v1/models/{}:predict", client, json={"instances": rows})
    for answer in (documents := [theirs.json(), own.json()]):
        for row in answer["predictions"]:
            row.pop("timestamp")
    assert documents[0] == documents[1]


def test_bad_values_get_the_same_status(framework: str, heart_pair: Pair, rows: Any, client: httpx.Client) -> None:
    for instance in ({}, {**rows[0], next(iter(rows[0])): 1e9}):
        path = f"/v1/models/{heart_pair.bundle.spec.name}:predict"
        answers = [
            client.post(base + path, json={"instances": [instance]}) for base in (framework, heart_pair.transformer.url)
        ]
        assert [answer.status_code for answer in answers] == [400, 400]
        assert answers[0].json()["error"] == answers[1].json()["error"]
