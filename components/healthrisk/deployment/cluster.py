"""Inference services on a cluster: the few calls that deploying needs, nothing more."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import yaml
from kubernetes import client, config, dynamic
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ResourceNotFoundError
from urllib3.exceptions import HTTPError

from healthrisk.errors import HealthriskError

NAMESPACE = "healthrisk"
# The site's InferenceService, written by the installation; every model is deployed in its likeness.
TEMPLATE = "inference-service"
_MANAGER = "healthrisk-deploy"
_BUNDLE, _DIGEST, _NUMBER, _FORMER = (f"healthrisk/{name}" for name in ("bundle", "digest", "version", "former"))
_COMPONENTS = ("predictor", "transformer", "explainer")


class ClusterError(HealthriskError):
    """The cluster does not answer, refuses, or does not come to serve what it was told to."""


@dataclass(frozen=True)
class Deployed:
    """A version of a model as it is deployed: its number in the registry, its bundle's address and digest."""

    number: str
    bundle: str
    digest: str


class Cluster:
    """Inference services in one namespace. In a pod it is the pod's own cluster, else the kubeconfig's `context`."""

    def __init__(self, namespace: str = NAMESPACE, context: str | None = None) -> None:
        self.namespace = namespace
        _load_config(context)
        with _translated("the cluster cannot be asked for inference services"):
            self._services = dynamic.DynamicClient(client.ApiClient()).resources.get(
                api_version="serving.kserve.io/v1beta1", kind="InferenceService"
            )
        self._core = client.CoreV1Api()
        self._apps = client.AppsV1Api()

    def deployed(self, name: str) -> Deployed | None:
        """Return the version that an inference service serves, or None where there is none."""
        return _deployed(self._find(name), _BUNDLE, _DIGEST, _NUMBER)

    def former(self, name: str) -> Deployed | None:
        """Return the version that an inference service served before, or None."""
        found = self._find(name)
        kept = found["metadata"]["annotations"].get(_FORMER) if found else None
        return Deployed(**json.loads(kept)) if kept else None

    def apply(self, name: str, version: Deployed, former: Deployed | None) -> None:
        """Make or change an inference service after the site's template, by server-side apply.

        Raises:
            ClusterError: the cluster refuses it, or the namespace has no template.
        """
        service = self._template()
        metadata = service["metadata"]
        metadata["name"], metadata["namespace"] = name, self.namespace
        service["spec"]["predictor"]["model"]["storageUri"] = version.bundle
        kept = {} if former is None else {_FORMER: json.dumps(vars(former))}
        metadata["annotations"] |= {
            _BUNDLE: version.bundle,
            _DIGEST: version.digest,
            _NUMBER: version.number,
            **kept,
        }
        with _translated(f"inference service {name!r} cannot be applied"):
            self._services.server_side_apply(
                service, name, self.namespace, field_manager=_MANAGER, force_conflicts=True
            )

    def delete(self, name: str) -> None:
        """Remove an inference service, if it is there."""
        with _translated(f"inference service {name!r} cannot be removed"):
            if self._find(name):
                self._services.delete(name, self.namespace)

    def wait(self, name: str, version: Deployed, seconds: float) -> None:
        """Wait until every replica of every server runs a version and is ready.

        Raises:
            ClusterError: that takes longer than `seconds`; the message says what is missing, and why.
        """
        until = time.monotonic() + seconds
        while missing := self._missing(name, version):
            if time.monotonic() > until:
                raise ClusterError(f"{name} was not ready within {seconds:.0f} s: {missing}; {self._reasons(name)}")
            time.sleep(1)

    def _missing(self, name: str, version: Deployed) -> str:
        for component in _COMPONENTS:
            with _translated(f"the servers of {name!r} cannot be looked at"):
                deployment = self._read(f"{name}-{component}")
            if deployment is None:
                return f"there is no {component} yet"
            annotations = deployment.spec.template.metadata.annotations or {}
            if annotations.get(_DIGEST) != version.digest:
                return f"the {component} is still of another version"
            status, wanted = deployment.status, deployment.spec.replicas
            counts = (status.updated_replicas or 0, status.replicas or 0, status.available_replicas or 0)
            if (status.observed_generation or 0) < deployment.metadata.generation or counts != (wanted,) * 3:
                return f"{counts[2]} of {wanted} {component} replicas are available"
        return ""

    def _read(self, name: str) -> Any:
        try:
            return self._apps.read_namespaced_deployment(name, self.namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _reasons(self, name: str) -> str:
        """Return why pods wait or have ended, each reason once."""
        selector = f"serving.kserve.io/inferenceservice={name}"
        with _translated(f"the pods of {name!r} cannot be listed"):
            pods = self._core.list_namespaced_pod(self.namespace, label_selector=selector).items
        found = [pod.status for pod in pods]
        statuses = [
            one for pod in found for one in (pod.init_container_statuses or []) + (pod.container_statuses or [])
        ]
        reasons = [_reason(one.name, state) for one in statuses for state in (one.state, one.last_state)]
        return "; ".join(dict.fromkeys(filter(None, reasons))) or "its pods give no reason"

    def _find(self, name: str) -> dict[str, Any] | None:
        with _translated(f"inference service {name!r} cannot be read"):
            try:
                found: dict[str, Any] = self._services.get(name, self.namespace).to_dict()
            except ApiException as error:
                if error.status == 404:
                    return None
                raise
            return found

    def _template(self) -> dict[str, Any]:
        with _translated(f"namespace {self.namespace!r} has no template of an inference service"):
            kept = self._core.read_namespaced_config_map(TEMPLATE, self.namespace)
        template: dict[str, Any] = yaml.safe_load(kept.data["inference-service.yaml"])
        return template


def _load_config(context: str | None) -> None:
    if context is None:
        with suppress(config.ConfigException):
            config.load_incluster_config()
            return
    try:
        config.load_kube_config(context=context)
    except config.ConfigException as error:
        raise ClusterError(f"no cluster: {error}") from error


def _deployed(service: dict[str, Any] | None, *keys: str) -> Deployed | None:
    annotations = service["metadata"].get("annotations", {}) if service else {}
    bundle, digest, number = (annotations.get(key, "") for key in keys)
    return Deployed(number, bundle, digest) if bundle else None


def _reason(name: str, state: Any) -> str:
    """Return why a container waits or failed, with the last line of what it said; empty if it does neither."""
    told = state.waiting or state.terminated
    if told is None or told.reason == "Completed":
        return ""
    lines = (told.message or "").strip().splitlines()
    return f"{name}: {told.reason} {lines[-1] if lines else ''}".strip()


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn what the client of Kubernetes raises into a ClusterError of one line."""
    try:
        yield
    except ApiException as error:
        try:
            reason = json.loads(error.body)["message"]
        except (ValueError, KeyError, TypeError):
            reason = f"{error.status} {error.reason}"
        raise ClusterError(f"{what}: {reason}") from error
    except (HTTPError, ResourceNotFoundError) as error:
        raise ClusterError(f"{what}: {error}") from error
