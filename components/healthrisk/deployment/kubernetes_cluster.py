"""A real cluster: inference services of KServe, and what a model has beside, by Kubernetes' API."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import yaml
from kubernetes import client, config, dynamic
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError, ResourceNotFoundError
from pydantic import ValidationError
from urllib3.exceptions import HTTPError

from healthrisk.deployment.cluster import (
    NAMESPACE,
    ClusterError,
    Deployed,
    RolloutMovedError,
    challenger_name,
    model_name,
)
from healthrisk.deployment.reasons import container_reason, unrouted_reason
from healthrisk.deployment.rollout_plan import Rollout
from healthrisk.deployment.weighted_route import Resource, weighted
from healthrisk.retry import http_retries

# What a model consists of at this site, written by the installation: an InferenceService and, where there is a gateway,
# a route to it. Every model is deployed in its likeness, under its own name in place of the placeholder.
TEMPLATE, _KEY, _PLACEHOLDER = "model-template", "template.yaml", "model-name"
_SERVICE, _ROUTE = "InferenceService", "HTTPRoute"
_MANAGER = "healthrisk-deploy"
_TRIES = 5
_BUNDLE, _DIGEST, _NUMBER, _PREVIOUS = (f"healthrisk/{name}" for name in ("bundle", "digest", "version", "previous"))
_MODEL, _ROLLOUT = "healthrisk/model", "healthrisk/rollout"
_COMPARED_BUNDLE, _COMPARED_DIGEST = "healthrisk/compared-bundle", "healthrisk/compared-digest"
_COMPONENTS = ("predictor", "transformer", "explainer")


class KubernetesCluster:
    """Inference services in one namespace. In a pod it is the pod's own cluster, else the kubeconfig's `context`."""

    def __init__(self, namespace: str = NAMESPACE, context: str | None = None) -> None:
        self.namespace = namespace
        api = _api(context)
        self._core, self._apps = client.CoreV1Api(api), client.AppsV1Api(api)
        self._authentication = client.AuthenticationV1Api(api)
        with _translated("the cluster cannot be asked for inference services"):
            self._dynamic = dynamic.DynamicClient(api)

    def user(self) -> str:
        """Return by which name the API server knows who asks it; empty where it does not say, which stops nobody."""
        with suppress(ApiException, HTTPError):
            review = self._authentication.create_self_subject_review(client.V1SelfSubjectReview())
            return str(review.status.user_info.username)
        return ""

    def deployed(self, name: str) -> Deployed | None:
        """Return the version that an inference service serves, or None where there is none."""
        annotations = self._annotations(name)
        bundle, digest, number = (annotations.get(key, "") for key in (_BUNDLE, _DIGEST, _NUMBER))
        return Deployed(number, bundle, digest) if bundle else None

    def previous(self, name: str) -> Deployed | None:
        """Return the version that an inference service served before, or None."""
        recorded = self._annotations(name).get(_PREVIOUS)
        return Deployed(**json.loads(recorded)) if recorded else None

    def apply(self, name: str, version: Deployed, previous: Deployed | None) -> None:
        """Make or change an inference service after the site's template, by server-side apply."""
        (service,) = (document for document in self._template(name) if document["kind"] == _SERVICE)
        service["spec"]["predictor"]["model"]["storageUri"] = version.bundle
        before = {} if previous is None else {_PREVIOUS: json.dumps(vars(previous))}
        # A challenger compares its answers with the champion's.
        compared = self.deployed(model_name(name)) if name != model_name(name) else None
        service["metadata"]["annotations"] |= {
            _BUNDLE: version.bundle,
            _DIGEST: version.digest,
            _NUMBER: version.number,
            _MODEL: model_name(name),
            _COMPARED_BUNDLE: compared.bundle if compared else "",
            _COMPARED_DIGEST: compared.digest if compared else "",
            **before,
        }
        self._apply(service)

    def open_route(self, name: str) -> None:
        """Apply what else the site's template has for a model."""
        for document in self._template(name):
            if document["kind"] != _SERVICE:
                self._apply(document)

    def rollout(self, name: str) -> Rollout | None:
        """Return what a model's way in says of a rollout, the last one's end included, or None."""
        recorded = _recorded(self._read_route(name))
        try:
            return Rollout.model_validate_json(recorded) if recorded else None
        except ValidationError as error:
            raise ClusterError(f"HTTPRoute {name!r} bears no rollout in {_ROLLOUT}: {recorded!r}") from error

    def share(self, name: str, before: Rollout | None, rollout: Rollout) -> None:
        """Share a model's requests as a rollout says, and write the rollout down, both at once."""
        theirs = self._template(challenger_name(name))
        for document in theirs:
            if document["kind"] not in {_SERVICE, _ROUTE}:
                self._apply(document)
        own, other = _routes(self._template(name)), _routes(theirs)
        if not own or not other:
            raise ClusterError(f"namespace {self.namespace!r} has no gateway by which requests could be shared")
        route = weighted(own[0], other[0], rollout)
        route["metadata"].setdefault("annotations", {})[_ROLLOUT] = rollout.model_dump_json()
        self._replace(name, before.model_dump_json() if before else None, route)

    def _replace(self, name: str, recorded: str | None, route: Resource) -> None:
        """Apply a route unless another rollout has been written down meanwhile."""
        for _ in range(_TRIES):
            current = self._read_route(name)
            if _recorded(current) != recorded:
                break
            if current:
                route["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
            # The gateway writes into a route, too: what it has looked at.
            with suppress(ConflictError):
                self._apply(route)
                return
        raise RolloutMovedError(f"the rollout of {name} was moved by somebody else meanwhile: see rollout status")

    def wait_routed(self, name: str, seconds: float) -> None:
        """Wait until the gateway has taken in how a model's requests are shared."""
        until = time.monotonic() + seconds
        while reason := unrouted_reason(self._read_route(name)):
            if time.monotonic() > until:
                raise ClusterError(f"the gateway has not taken in HTTPRoute {name!r} for {seconds:.0f} s: {reason}")
            time.sleep(1)

    def _read_route(self, name: str) -> Resource | None:
        routes = _routes(self._template(name))
        with _translated(f"{_ROUTE} {name!r} cannot be read"):
            try:
                return self._kind(routes[0]).get(name, self.namespace).to_dict() if routes else None
            except NotFoundError:
                return None

    def delete(self, name: str) -> None:
        """Remove all that the site's template has for a model, the way in before what it leads to."""
        for document in reversed(self._template(name)):
            kind, called = document["kind"], document["metadata"]["name"]
            with _translated(f"{kind} {called!r} cannot be removed"), suppress(NotFoundError):
                self._kind(document).delete(called, self.namespace)

    def wait(self, name: str, version: Deployed, seconds: float) -> None:
        """Wait until every replica of every server runs a version and is ready."""
        until = time.monotonic() + seconds
        while reason := self._unready_reason(name, version):
            if time.monotonic() > until:
                raise ClusterError(f"{name} was not ready within {seconds:.0f} s: {reason}; {self._pod_reasons(name)}")
            time.sleep(1)

    def _unready_reason(self, name: str, version: Deployed) -> str:
        for component in _COMPONENTS:
            with _translated(f"the servers of {name!r} cannot be looked at"):
                deployment = self._read_deployment(f"{name}-{component}")
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

    def _read_deployment(self, name: str) -> Any:
        try:
            return self._apps.read_namespaced_deployment(name, self.namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _pod_reasons(self, name: str) -> str:
        """Return why pods wait or have ended, each reason once."""
        selector = f"serving.kserve.io/inferenceservice={name}"
        with _translated(f"the pods of {name!r} cannot be listed"):
            pods = self._core.list_namespaced_pod(self.namespace, label_selector=selector).items
        statuses = [
            one
            for pod in pods
            for one in (pod.status.init_container_statuses or []) + (pod.status.container_statuses or [])
        ]
        reasons = [container_reason(one.name, state) for one in statuses for state in (one.state, one.last_state)]
        return "; ".join(dict.fromkeys(filter(None, reasons))) or "its pods give no reason"

    def _annotations(self, name: str) -> dict[str, str]:
        with _translated(f"inference service {name!r} cannot be read"):
            services = self._dynamic.resources.get(api_version="serving.kserve.io/v1beta1", kind=_SERVICE)
            try:
                service: Resource = services.get(name, self.namespace).to_dict()
            except NotFoundError:
                return {}
        annotations: dict[str, str] = service["metadata"].get("annotations", {})
        return annotations

    def _apply(self, document: Resource) -> None:
        kind, name = document["kind"], document["metadata"]["name"]
        with _translated(f"{kind} {name!r} cannot be applied"):
            self._kind(document).server_side_apply(
                document, name, self.namespace, field_manager=_MANAGER, force_conflicts=True
            )

    def _kind(self, document: Resource) -> Any:
        return self._dynamic.resources.get(api_version=document["apiVersion"], kind=document["kind"])

    def _template(self, name: str) -> list[Resource]:
        with _translated(f"namespace {self.namespace!r} has no template of a model"):
            template = self._core.read_namespaced_config_map(TEMPLATE, self.namespace).data[_KEY]
        return in_likeness(template, name, self.namespace)


def _recorded(route: Resource | None) -> str | None:
    return route["metadata"].get("annotations", {}).get(_ROLLOUT) if route else None


def _routes(documents: list[Resource]) -> list[Resource]:
    return [document for document in documents if document["kind"] == _ROUTE]


def in_likeness(template: str, name: str, namespace: str) -> list[Resource]:
    """Return what a model consists of, after a site's template."""
    documents = [document for document in yaml.safe_load_all(template.replace(_PLACEHOLDER, name)) if document]
    for document in documents:
        document["metadata"]["namespace"] = namespace
    return documents


def _api(context: str | None) -> client.ApiClient:
    settings = client.Configuration()
    settings.retries = http_retries()
    try:
        if context is None:
            with suppress(config.ConfigException):
                config.load_incluster_config(client_configuration=settings)
                return client.ApiClient(settings)
        config.load_kube_config(context=context, client_configuration=settings)
    except config.ConfigException as error:
        raise ClusterError(f"no cluster: {error}") from error
    return client.ApiClient(settings)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn what the client of Kubernetes raises into a ClusterError of one line."""
    try:
        yield
    except (NotFoundError, ConflictError):
        raise
    except ApiException as error:
        try:
            reason = json.loads(error.body)["message"]
        except (ValueError, KeyError, TypeError):
            reason = f"{error.status} {error.reason}"
        raise ClusterError(f"{what}: {reason}") from error
    except (HTTPError, ResourceNotFoundError) as error:
        raise ClusterError(f"{what}: {error}") from error
