"""Upstream as it publishes, in small: release files and repositories in a folder, shaped as the real ones are.

KServe's file holds its custom resources and no namespace, and names images in JSON. The gateway's speaks of images in
prose. The pipelines' folder refers to Argo's on github.com, and names images in variables and in arguments.
"""

import subprocess
from pathlib import Path

KSERVE = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: inferenceservices.serving.kserve.io}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: inferenceservice-config, namespace: kserve}
data:
  deploy: |-
    {"defaultDeploymentMode": "Knative"}
  ingress: |-
    {"ingressClassName": "istio"}
  agent: |-
    {
        "image" : "kserve/agent:v1",
        "cpuLimit": "1"
    }
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: kserve-controller-manager, namespace: kserve}
spec:
  template:
    spec:
      containers:
        - {name: manager, image: "kserve/kserve-controller:v1", imagePullPolicy: Always}
        - {name: proxy, image: "quay.io/brancz/kube-rbac-proxy:v1"}
"""
SOLVER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: cert-manager, namespace: cert-manager}
spec:
  template:
    spec:
      containers:
        - name: controller
          image: quay.io/jetstack/cert-manager-controller:v1
          args:
            - --acme-http01-solver-image=quay.io/jetstack/cert-manager-acmesolver:v1
"""
METRICS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: metrics-server, namespace: kube-system}
spec:
  template:
    spec:
      containers:
        - {name: metrics-server, image: "registry.k8s.io/metrics-server/metrics-server:v1", args: [--secure-port=10250]}
"""
GATEWAY = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: envoyextensionpolicies.gateway.envoyproxy.io}
spec:
  description: |
    URL can be in the format of `registry/image:tag` or `registry/image@sha256:digest`.
---
apiVersion: v1
kind: ConfigMap
metadata: {name: envoy-gateway-config, namespace: envoy-gateway-system}
data:
  envoy-gateway.yaml: |
    provider:
      kubernetes:
        shutdownManager:
          image: docker.io/envoyproxy/gateway:v1
"""
NAMESPACE = "{apiVersion: v1, kind: Namespace, metadata: {name: kubeflow}}"
API = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: ml-pipeline}
spec:
  template:
    spec:
      containers:
        - name: api
          image: ghcr.io/kubeflow/kfp-api-server:1
          env:
            - name: V2_DRIVER_IMAGE
              value: ghcr.io/kubeflow/kfp-driver:1
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cache-server}
spec:
  template:
    spec:
      containers:
        - {name: server, image: "ghcr.io/kubeflow/kfp-cache-server:1", imagePullPolicy: Always}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kfp-launcher, namespace: kubeflow}
data:
  defaultPipelineRoot: ""
---
apiVersion: v1
kind: ConfigMap
metadata: {name: workflow-controller-configmap, namespace: kubeflow}
data:
  artifactRepository: "archiveLogs: false"
  workflowDefaults: "spec: {templateDefaults: {retryStrategy: {limit: '2', retryPolicy: OnError}}}"
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: seaweedfs}
spec:
  template:
    spec:
      containers:
        - {name: seaweedfs, image: "ghcr.io/chrislusf/seaweedfs:1", args: [server, -dir=/data]}
"""
ARGO = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: workflow-controller}
spec:
  template:
    spec:
      containers:
        - name: controller
          image: quay.io/argoproj/workflow-controller:v1
          args:
            - --executor-image
            - quay.io/argoproj/argoexec:v1
"""
IMAGES = {
    *("kserve/agent:v1", "kserve/kserve-controller:v1", "quay.io/brancz/kube-rbac-proxy:v1"),
    *("quay.io/jetstack/cert-manager-controller:v1", "quay.io/jetstack/cert-manager-acmesolver:v1"),
    *("registry.k8s.io/metrics-server/metrics-server:v1", "docker.io/envoyproxy/gateway:v1"),
    *("ghcr.io/kubeflow/kfp-api-server:1", "ghcr.io/kubeflow/kfp-driver:1"),
    *("ghcr.io/kubeflow/kfp-cache-server:1", "ghcr.io/chrislusf/seaweedfs:1"),
    *("quay.io/argoproj/workflow-controller:v1", "quay.io/argoproj/argoexec:v1"),
}


def publish(folder: Path, versions: dict[str, str]) -> str:
    """Fill a folder as github.com would answer for these versions; return its address for SOURCES."""
    releases = "releases/download"
    for path, text in {
        f"kserve/kserve/{releases}/{versions['KSERVE_VERSION']}/kserve.yaml": KSERVE,
        f"cert-manager/cert-manager/{releases}/{versions['CERT_MANAGER_VERSION']}/cert-manager.yaml": SOLVER,
        f"kubernetes-sigs/metrics-server/{releases}/{versions['METRICS_SERVER_VERSION']}/components.yaml": METRICS,
        f"envoyproxy/gateway/{releases}/{versions['ENVOY_GATEWAY_VERSION']}/install.yaml": GATEWAY,
    }.items():
        _write(folder / path, text)
    _repository(folder / "argoproj" / "argo-workflows", {"manifests/base": ARGO}, "v1")
    inner = "https://github.com/argoproj/argo-workflows/manifests/base?ref=v1"
    _repository(
        folder / "kubeflow" / "pipelines",
        {
            "manifests/kustomize/env/platform-agnostic": (API, inner),
            "manifests/kustomize/cluster-scoped-resources": NAMESPACE,
        },
        versions["KFP_VERSION"],
    )
    return folder.as_uri()


def _repository(folder: Path, bases: dict[str, str | tuple[str, str]], tag: str) -> None:
    """Make a git repository with one commit: a kustomization in each base, which may refer to another address."""
    for base, resources in bases.items():
        text, *others = (resources,) if isinstance(resources, str) else resources
        _write(folder / base / "all.yaml", text)
        _write(folder / base / "kustomization.yaml", f"resources: {['all.yaml', *others]}\n".replace("'", '"'))
    who = ["-c", "user.name=upstream", "-c", "user.email=upstream@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message=all"], ["tag", tag]):
        subprocess.run(["git", *words], check=True, cwd=folder, timeout=60)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
