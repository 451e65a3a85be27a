"""A cluster with the platform on it: KUBE_CONTEXT names its kube context; without it these tests skip.

They register models of an invented data set with the cluster's MLflow and object store, and deploy them as
`readmission`.
"""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from healthrisk.bundle import Bundle, store
from healthrisk.deployment.cluster import Cluster, Deployed
from healthrisk.deployment.deploy import READY_SECONDS
from healthrisk.deployment.kubernetes_cluster import KubernetesCluster
from healthrisk.errors import SourceError
from healthrisk.monitoring import traffic
from healthrisk.registry import placement, versions
from tests.support import patience, sample_bundle
from tests.support.gateway import SELECTOR
from tests.support.gateway_load import Load
from tests.support.servers import free_ports

NAMESPACE = "healthrisk"
ROOT = Path(__file__).parents[2]
SERVE = """
from pathlib import Path
from healthrisk.deployment import deploy
from healthrisk.bundle import store
from healthrisk.deployment.cluster import Cluster, Deployed
from healthrisk.deployment.kubernetes_cluster import KubernetesCluster
version = {version!r}
deploy.champion(KubernetesCluster(), store.fetch(version.bundle, version.digest, Path("/tmp/cache")), version,
                "http://readmission-transformer.healthrisk")
"""
Kubectl = Callable[..., str]


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """Run kubectl in the context and return what it prints."""
    context = os.environ.get("KUBE_CONTEXT")
    if not context or shutil.which("kubectl") is None:
        pytest.skip("no cluster: make kind-up, then KUBE_CONTEXT=kind-healthrisk pytest tests/e2e")
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("the cluster is one, and workers are several: pytest tests/e2e")

    def run(*words: str, stdin: str | None = None, check: bool = True) -> str:
        done = patience.run(["kubectl", "--context", context, *words], input=stdin)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def forward(kubectl: Kubectl) -> Iterator[Callable[..., str]]:
    """Return a starter of ways to a service's or deployment's port, through all pods that it has in time: HOST:PORT."""
    with ExitStack() as stack:

        def start(service: str, port: int, namespace: str = NAMESPACE, kind: str = "service") -> str:
            (local,) = free_ports(1)
            words = ["kubectl", "--context", os.environ["KUBE_CONTEXT"], "--namespace", namespace]
            words += ["port-forward", f"{kind}/{service}", f"{local}:{port}"]
            # It ends with the pod that it leads to.
            again = ["sh", "-c", 'while kill -0 "$0"; do "$@"; sleep 1; done', str(os.getpid()), *words]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = stack.enter_context(subprocess.Popen(again, start_new_session=True, **quiet))
            stack.callback(os.killpg, process.pid, signal.SIGTERM)
            patience.until(lambda: listens(local), lambda: f"{service} cannot be reached")
            return f"127.0.0.1:{local}"

        yield start


def listens(port: int) -> bool:
    """Say whether something takes connections on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def platform(kubectl: Kubectl, forward: Callable[[str, int], str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Point this process at the cluster's MLflow and object store."""
    secret = json.loads(kubectl("--namespace", NAMESPACE, "get", "secret", "object-store", "--output", "json"))["data"]
    os.environ |= {name: base64.b64decode(value).decode() for name, value in secret.items()}
    signing = kubectl(
        "--namespace", "kubeflow", "get", "secret", "bundle-signing", "--ignore-not-found", "--output=json"
    )
    if signing:
        os.environ["HEALTHRISK_BUNDLE_SIGNING_KEY"] = base64.b64decode(json.loads(signing)["data"]["key.pem"]).decode()
    os.environ |= {
        "HEALTHRISK_HOME": str(tmp_path_factory.mktemp("home")),
        "MLFLOW_TRACKING_URI": f"http://{forward('mlflow', 5000)}",
        "AWS_ENDPOINT_URL": f"http://{forward('object-store', 9000)}",
        "AWS_REGION": "us-east-1",
        "HEALTHRISK_BUNDLES": "s3://healthrisk/bundles",
        "HEALTHRISK_RETRY_SECONDS": "300",
    }


@pytest.fixture(scope="session")
def cluster(kubectl: Kubectl) -> Cluster:
    return KubernetesCluster(NAMESPACE, os.environ["KUBE_CONTEXT"])


@pytest.fixture(scope="session")
def gateway(kubectl: Kubectl, forward: Callable[..., str]) -> str:
    """Where the gateway's Envoy is reached from here: HOST:PORT."""
    if not kubectl("get", "crd", "gateways.gateway.networking.k8s.io", "--ignore-not-found"):
        pytest.skip("the cluster has no gateway: make kind-up without PROFILE=small")
    where = ("--namespace", "envoy-gateway-system", "get", "services", f"--selector={SELECTOR}", "--output=name")
    return forward(kubectl(*where).strip().removeprefix("service/"), 443, "envoy-gateway-system")


@pytest.fixture(scope="session")
def trusted(kubectl: Kubectl, gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gateway's own certificate."""
    where = ("--namespace", "healthrisk", "get", "secret", "gateway-tls", "--output")
    path = tmp_path_factory.mktemp("tls") / "gateway.crt"
    path.write_bytes(base64.b64decode(kubectl(*where, r"jsonpath={.data.tls\.crt}")))
    return path


Version = tuple[Bundle, Deployed]


@pytest.fixture(scope="session")
def register(platform: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Version]:
    """Build, store and register a small model with a seed, as champion; return its bundle and version."""

    def make(seed: int) -> Version:
        spec = ROOT / "tests" / "support" / "readmission.yaml"
        command = [sys.executable, "-m", "tests.support.sample_bundle", str(tmp_path_factory.mktemp("bundles"))]
        command += [f"--dataset={spec}", "--family=logistic_regression", f"--seed={seed}"]
        done = patience.run(command, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        bundle = Bundle.open(Path(done.stdout.strip()))
        uri = store.put(bundle, os.environ["HEALTHRISK_BUNDLES"])
        decision = sample_bundle.decision(bundle.spec, "logistic_regression", 0.5 + seed / 1000, seed)
        version, _ = placement.register_bundle(bundle, uri, decision, "", "nothing to compare")
        versions.client().set_registered_model_alias(bundle.spec.name, "champion", version.number)
        return bundle, Deployed(version.number, uri, bundle.digest)

    return make


@pytest.fixture(scope="session")
def first(register: Callable[[int], Version]) -> Version:
    return register(1)


@pytest.fixture(scope="session")
def in_cluster(kubectl: Kubectl) -> Callable[..., tuple[str, str]]:
    """Run Python in a pod of the pipeline's image, account and namespace; return its phase and what it printed."""

    def run(
        name: str, script: str, labels: Mapping[str, str] | None = None, settings: Mapping[str, str] | None = None
    ) -> tuple[str, str]:
        image = kubectl(
            *("--namespace", NAMESPACE, "get", "deployment", "mlflow"),
            *("--output", "jsonpath={.spec.template.spec.containers[0].image}"),
        )
        environment = [{"configMapRef": {"name": "healthrisk"}}, {"secretRef": {"name": "object-store"}}]
        container = {"name": "main", "image": image, "command": ["python", "-c", script], "envFrom": environment}
        container["env"] = [{"name": name, "value": value} for name, value in (settings or {}).items()]
        container["securityContext"] = {"runAsUser": 65532, "runAsNonRoot": True}
        spec = {"serviceAccountName": "pipeline-runner", "restartPolicy": "Never", "containers": [container]}
        metadata = {"name": name, "namespace": "kubeflow", "labels": labels or {}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        where = ("--namespace", "kubeflow")
        kubectl(*where, "delete", "pod", name, "--ignore-not-found")
        kubectl("apply", "--filename", "-", stdin=json.dumps(pod))
        until, phase = time.monotonic() + READY_SECONDS, ""
        while phase not in {"Succeeded", "Failed"} and time.monotonic() < until:
            time.sleep(2)
            phase = kubectl(*where, "get", "pod", name, "--output", "jsonpath={.status.phase}")
        printed = kubectl(*where, "logs", name, check=False)
        kubectl(*where, "delete", "pod", name)
        return phase, printed

    return run


@pytest.fixture(scope="module")
def served(first: Version, cluster: Cluster, in_cluster: Callable[..., tuple[str, str]]) -> Version:
    """The first version, which serves as `readmission` now."""
    if cluster.deployed(first[0].spec.name) != first[1]:
        phase, printed = in_cluster("e2e-serve", SERVE.format(version=first[1]))
        assert phase == "Succeeded", printed
    return first


@pytest.fixture
def load(served: Version, gateway: str, trusted: Path) -> Iterator[Load]:
    """Load on the served model, which is answered already."""
    asking = Load(gateway, trusted, served[0])
    asking.start()
    patience.until(lambda: asking.statuses[200] > 20)
    asking.statuses.clear()
    yield asking
    asking.stop()


@pytest.fixture(scope="session")
def ask(forward: Callable[[str, int], str]) -> Callable[[str], list[Any]]:
    """Ask the cluster's Prometheus; the way to it ends with a pod that a test kills, and then leads to the next one."""
    url = f"http://{forward('prometheus', 9090)}"

    def answer(query: str) -> list[Any]:
        found: list[list[Any]] = []

        def answers() -> bool:
            with suppress(SourceError):
                found.append(traffic.query(url, query))
            return bool(found)

        patience.until(answers)
        return found[0]

    return answer
