"""Who may talk to whom: the predictor answers the transformer, and no stranger."""

from collections.abc import Callable
from typing import Any

from healthrisk.bundle import Bundle
from healthrisk.deployment.cluster import Deployed

# Pods of pipelines may ask the transformer, and nothing behind it. A network hears of a new pod a moment late.
KNOCK = """
import socket, time
def answers(host, port):
    try:
        socket.create_connection((host + ".healthrisk", port), timeout=5).close()
    except (TimeoutError, ConnectionRefusedError):
        return False
    return True
until = time.monotonic() + 30
while not answers("readmission-transformer", 80) and time.monotonic() < until:
    time.sleep(1)
for host, port in (("readmission-transformer", 80), ("readmission-predictor", 80), ("postgres", 5432)):
    print(host, answers(host, port))
"""


def test_a_stranger_is_refused(served: tuple[Bundle, Deployed], in_cluster: Callable[..., Any]) -> None:
    phase, printed = in_cluster("e2e-stranger", KNOCK)
    assert phase == "Succeeded", printed
    assert printed.splitlines() == ["readmission-transformer True", "readmission-predictor False", "postgres False"]
