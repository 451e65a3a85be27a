"""Load on a model behind a cluster's gateway, of which every answer is held against the bundle's own."""

import json
import threading
from collections import Counter
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from healthrisk.bundle import Bundle
from healthrisk.data import encoding
from healthrisk.inference.scorer import golden_matrix
from tests.support.gateway import HOST, connect


class Load(threading.Thread):
    """Asks for the golden rows, one after another through the gateway, until it is stopped."""

    def __init__(self, gateway: str, trusted: Path, bundle: Bundle) -> None:
        super().__init__()
        self._gateway, self._trusted, self.bundle = gateway, trusted, bundle
        self._stop_asked = threading.Event()
        self.statuses: Counter[int] = Counter()
        # Answers that differ from the bundle's own, and connections that broke.
        self.wrong: list[str] = []
        self.broken: list[str] = []
        self.receipts: list[str] = []

    def run(self) -> None:
        rows = encoding.decode(self.bundle.spec, golden_matrix(self.bundle.spec, self.bundle.golden.rows))
        place = 0
        while not self._stop_asked.is_set():
            with closing(connect(self._gateway, self._trusted)) as connection:
                try:
                    while not self._stop_asked.wait(0.02):
                        self._ask(connection, rows[place], self.bundle.golden.probability[place])
                        place = (place + 1) % len(rows)
                except (OSError, HTTPException) as error:
                    self.broken.append(repr(error))

    def _ask(self, connection: Any, row: Any, expected: Any) -> None:
        body = json.dumps({"instances": [row]})
        headers = {"host": HOST, "content-type": "application/json"}
        connection.request("POST", f"/v1/models/{self.bundle.spec.name}:predict", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        self.statuses[answer.status] += 1
        if answer.status != 200:
            return
        (prediction,) = json.loads(text)["predictions"]
        if not np.isclose(prediction["probability"], expected[1], atol=1e-6):
            self.wrong.append(text.decode())
        self.receipts.append(prediction["receipt"])

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()
