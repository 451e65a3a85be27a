"""Who may talk to whom: the predictor answers the transformer, and no stranger."""

from collections.abc import Callable
from typing import Any

from healthrisk.bundle import Bundle
from healthrisk.cluster import Deployed

# Pods of pipelines may ask the transformer, and nothing behind it.
KNOCK = """
import socket
for host in ("readmission-transformer", "readmission-predictor"):
    try:
        socket.create_connection((host + ".healthrisk", 80), timeout=5).close()
        print(host, "answers")
    except (TimeoutError, ConnectionRefusedError):
        print(host, "is closed")
"""


def test_the_predictor_refuses_a_stranger(served: tuple[Bundle, Deployed], in_cluster: Callable[..., Any]) -> None:
    phase, printed = in_cluster("e2e-stranger", KNOCK)
    assert phase == "Succeeded", printed
    assert printed.splitlines() == ["readmission-transformer answers", "readmission-predictor is closed"]
