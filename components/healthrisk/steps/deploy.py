"""The step that puts a registered version behind its inference service; it runs on a cluster only."""

from kfp import dsl

from healthrisk.steps.component import component


@component
def deploy(namespace: str, registration: dsl.Input[dsl.Artifact], rollout: str = "") -> None:
    """Apply the inference service, wait for it, replay the golden rows; take the version back if anything differs.

    A version that awaits a rollout is served beside the champion, and gets the first of its weights.

    Args:
        namespace: Where models are served.
        registration: What register wrote: the version, its alias and its bundle.
        rollout: The weights of a version that awaits its rollout.
    """
    from pathlib import Path

    from healthrisk.deployment.deploy import deploy
    from healthrisk.deployment.kubernetes_cluster import KubernetesCluster
    from healthrisk.deployment.rollout import begin
    from healthrisk.registry.registration import Registration
    from healthrisk.steps import titles
    from healthrisk.steps.context import step_context

    with step_context(titles.DEPLOY, registration) as log:
        registered = Registration.read(Path(registration.path))
        log.info(deploy(registered, namespace))
        if registered.awaits_rollout:
            log.info(begin(KubernetesCluster(namespace), registered, rollout))
