"""A served model as batch prediction queries it: v2 over HTTP, binary both ways, on one connection."""

import http.client
import json
import time
import urllib.parse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk.errors import StoreError
from healthrisk.serving.tensors import Tensor, to_bytes
from healthrisk.spec import DatasetSpec

_ATTEMPTS = 5


class ServedModel:
    """Queries a transformer at `url` (http://HOST:PORT) for probabilities, and keeps how long each answer took.

    With a `version` a server that serves another one refuses.
    """

    def __init__(self, url: str, spec: DatasetSpec, timeout: float = 60.0, version: str = "") -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise StoreError(f"{url!r}: expected http://HOST[:PORT]")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.netloc, timeout=timeout)
        self._spec = spec
        model = f"{spec.name}/versions/{version}" if version else spec.name
        self._path = f"{parts.path.rstrip('/')}/v2/models/{model}/infer"
        self._texts = [np.array(list(column.meanings)) if column.is_text else None for column in spec.columns]
        self.seconds: list[float] = []
        self.rows = 0

    def probabilities(self, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes] for a encoded matrix [rows, features].

        Raises:
            StoreError: the server cannot be reached, refuses, or stays unavailable.
        """
        if not len(matrix):
            return np.empty((0, len(self._spec.target.classes)), np.float32)
        head, body = self._request(matrix)
        for attempt in range(_ATTEMPTS):
            began = time.perf_counter()
            answer, payload = self._post(head, body)
            if answer.status == 200:
                self.seconds.append(time.perf_counter() - began)
                self.rows += len(matrix)
                start = int(answer.getheader("inference-header-content-length") or 0)
                return np.frombuffer(payload, "<f4", offset=start).reshape(len(matrix), -1)
            if answer.status != 503 or attempt == _ATTEMPTS - 1:
                raise StoreError(f"the server answered {answer.status}: {_error(payload)}")
            time.sleep(float(answer.getheader("retry-after") or 1))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def summary(self) -> dict[str, float]:
        """Return how many requests and rows were answered, and how long a request took, in milliseconds."""
        if not self.seconds:
            return {"requests": 0, "rows": 0}
        times = np.array(self.seconds) * 1000
        p50, p95, p99 = np.percentile(times, [50, 95, 99])
        summary = {"requests": len(times), "rows": self.rows, "mean_ms": times.mean(), "p50_ms": p50, "p95_ms": p95}
        return {
            name: round(float(number), 3) for name, number in {**summary, "p99_ms": p99, "max_ms": times.max()}.items()
        }

    def _request(self, matrix: NDArray[np.float64]) -> tuple[bytes, bytes]:
        inputs, parts = [], []
        for column, texts, values in zip(self._spec.columns, self._texts, matrix.T, strict=True):
            if texts is None:
                datatype, raw = "FP64", values.astype("<f8").tobytes()
            else:
                missing = np.isnan(values)
                named = texts[np.where(missing, 0, values).astype(np.intp)].tolist()
                data = ["" if absent else text for text, absent in zip(named, missing, strict=True)]
                datatype, raw = "BYTES", to_bytes(Tensor(column.name, "BYTES", (len(data),), data))
            parameters = {"binary_data_size": len(raw)}
            inputs.append({"name": column.name, "datatype": datatype, "shape": [len(matrix)], "parameters": parameters})
            parts.append(raw)
        outputs = [{"name": "probability", "parameters": {"binary_data": True}}]
        return json.dumps({"inputs": inputs, "outputs": outputs}).encode(), b"".join(parts)

    def _post(self, head: bytes, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
        try:
            try:
                self._connection.request("POST", self._path, head + body, headers)
                answer = self._connection.getresponse()
            except (ConnectionError, http.client.HTTPException):
                # The server may have closed a connection that was idle; once more on a new one.
                self._connection.close()
                self._connection.request("POST", self._path, head + body, headers)
                answer = self._connection.getresponse()
            return answer, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise StoreError(f"{self._connection.host}:{self._connection.port} cannot be reached: {error}") from error


def _error(payload: bytes) -> Any:
    try:
        return json.loads(payload)["error"]
    except (ValueError, KeyError, TypeError):
        return payload[:200].decode(errors="replace")
