"""Outcomes that are told to a cluster, and how many of them its database counts."""

import base64
import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx

from healthrisk.errors import StoreError
from healthrisk.monitoring.outcome_store import OutcomeStore
from healthrisk.receipts.probability_bins import EVENT
from tests.support import http


def database(kubectl: Callable[..., str], forward: Callable[..., str]) -> str:
    """Return the address of the cluster's database of outcomes."""
    where = ("--namespace", "healthrisk", "get", "secret", "postgres", "--output=json")
    password = base64.b64decode(json.loads(kubectl(*where))["data"]["password"]).decode()
    return f"postgresql+psycopg2://mlflow:{password}@{forward('postgres', 5432)}/mlflow"


def returned(url: str, receipt: str, value: Any) -> bool:
    """Say whether an outcome was taken: for the first time, or again where the first answer was lost."""
    try:
        answer = http.post(url, json={"outcomes": [{"receipt": receipt, "outcome": value}]})
    except httpx.HTTPError:
        time.sleep(0.2)
        return False
    return answer.status_code == 200


def counted(address: str, model: str) -> int:
    """Return how many outcomes of a model's patients the database counts, once it answers."""

    def total() -> int | None:
        try:
            with closing(OutcomeStore(address)) as store:
                counts = store.counts(model)
        except StoreError:
            return None
        return sum(count for cell, count in counts.items() if cell.label == EVENT and not cell.grouping)

    found = total()
    while found is None:
        time.sleep(1)
        found = total()
    return found
