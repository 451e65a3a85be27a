"""Put back the version of a model that was served before.

python pipelines/rollback.py [--dataset NAME|PATH.yaml] [--context NAME]

Each server replays its bundle's golden rows before it says ready, so that what comes back is what was trained.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator

from healthrisk import spec as specs
from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import NAMESPACE, ClusterError
from healthrisk.deployment.kubernetes_cluster import KubernetesCluster
from healthrisk.processes import command
from healthrisk.records import actor


def main() -> int:
    """Roll back; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="heart-disease", help="a shipped spec's name, or the path of a spec")
    parser.add_argument("--context", default=None, help="the kube context; else the current one")
    parser.add_argument("--namespace", default=NAMESPACE, help="where models are served")
    parser.add_argument("--timeout", type=float, default=deploy.READY_SECONDS, metavar="SECONDS")
    given = parser.parse_args()
    name = specs.load(given.dataset).name
    cluster = KubernetesCluster(given.namespace, given.context)
    actor.known_as(cluster.user())
    with _registry(given.namespace, given.context):
        left, back = deploy.rollback(cluster, name, given.timeout)
    print(f"{name}: version {back.number} is served again, version {left.number} is not")
    return 0


@contextlib.contextmanager
def _registry(namespace: str, context: str | None) -> Iterator[None]:
    """Reach the cluster's MLflow, unless MLFLOW_TRACKING_URI names one."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        yield
        return
    kubectl = ["kubectl", *(["--context", context] if context else []), "--namespace", namespace]
    kubectl += ["port-forward", "service/mlflow", ":5000"]
    with subprocess.Popen(kubectl, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as forward:
        try:
            line = next(iter(forward.stdout or ()), "")
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
            if not match:
                raise ClusterError(f"MLflow in namespace {namespace} cannot be reached: {line.strip()}")
            os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{match[1]}"
            yield
        finally:
            forward.terminate()


if __name__ == "__main__":
    sys.exit(command(main))
