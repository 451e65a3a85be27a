"""The pipeline as a cluster runs it: the same steps, then the deploy step, and what a pod needs on every task."""

from kfp import dsl, kubernetes

from healthrisk.steps import titles
from healthrisk.steps.deploy import deploy
from pipeline import define

# Requests and limits by step; what a step needs was measured on the shipped data and five million rows.
_SMALL = {"cpu": ("100m", "1"), "memory": ("512Mi", "2Gi")}
_LARGE = {"cpu": ("500m", "2"), "memory": ("1Gi", "4Gi")}
_SECONDS = 3600
# The installation writes both beside the pods: manifests/install.
_CONFIG, _SECRET = "healthrisk", "object-store"
_SETTINGS = (
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "HEALTHRISK_BUNDLES",
    "HEALTHRISK_RETRY_SECONDS",
    "MLFLOW_TRACKING_URI",
)
# Who is told where a step fails, where it is on record who did what, who does the work, and how the store is asked to
# encrypt; a cluster may be without.
_OPTIONAL = ("HEALTHRISK_ALERTS", "HEALTHRISK_ACTIONS", "HEALTHRISK_DASK", "HEALTHRISK_S3_ENCRYPTION")
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# Who is believed to have signed a bundle, for every step, and what signs it, for the one that makes it.
_BELIEVED, _SIGNING = "bundle-keys", "bundle-signing"
# The user of our image.
_USER = 65532


def _place(task: dsl.PipelineTask, size: dict[str, tuple[str, str]]) -> None:
    """Give a task its resources, its user, its time and its environment."""
    (cpu, most_cpu), (memory, most_memory) = size["cpu"], size["memory"]
    task.set_cpu_request(cpu).set_cpu_limit(most_cpu).set_memory_request(memory).set_memory_limit(most_memory)
    kubernetes.set_security_context(task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True)
    kubernetes.set_timeout(task, _SECONDS)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.use_config_map_as_env(task, _CONFIG, {name: name for name in _SETTINGS})
    kubernetes.use_config_map_as_env(task, _CONFIG, {name: name for name in _OPTIONAL}, optional=True)
    kubernetes.use_config_map_as_env(task, _BELIEVED, {"public.pem": "HEALTHRISK_BUNDLE_PUBLIC_KEY"}, optional=True)
    # No input, which would be part of the cache's key.
    kubernetes.use_field_path_as_env(task, "HEALTHRISK_RUN", "metadata.labels['pipeline/runid']")
    kubernetes.use_secret_as_env(task, _SECRET, {name: name for name in _CREDENTIALS})


def _finish(tasks: list[dsl.PipelineTask], namespace: str, rollout: str) -> None:
    register = tasks[-1]
    kubernetes.use_secret_as_env(register, _SIGNING, {"key.pem": "HEALTHRISK_BUNDLE_SIGNING_KEY"}, optional=True)
    deployed = deploy(namespace=namespace, registration=register.outputs["registration"], rollout=rollout)
    deployed.set_display_name(titles.DEPLOY).set_caching_options(enable_caching=False)
    for task in (*tasks, deployed):
        _place(task, _LARGE if task.name.startswith(("train", "evidence")) else _SMALL)
        # For a pod that goes with its node: no step is started again that ended by itself, be it for a gate that failed
        # or a version that was taken back. A busy store or network a step bears within itself. The longest duration is
        # counted from a step's first start, and an hour is the most that there is.
        task.set_retry(num_retries=2, backoff_duration="30s", backoff_factor=2, backoff_max_duration="1h")


training = define(_finish)
