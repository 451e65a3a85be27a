"""The step that puts a registered version behind its inference service; it runs on a cluster only."""

from kfp import dsl

from healthrisk.steps.component import component


@component
def deploy(namespace: str, registration: dsl.Input[dsl.Artifact]) -> None:
    """Apply the inference service, wait for it, replay the golden rows; take the version back if anything differs.

    Args:
        namespace: Where models are served.
        registration: What register wrote: the version, its alias and its bundle.
    """
    from pathlib import Path

    from healthrisk.deployment.deploy import deploy
    from healthrisk.registry.registration import Registration
    from healthrisk.steps import titles
    from healthrisk.steps.context import step_context

    with step_context(titles.DEPLOY, registration) as log:
        log.info(deploy(Registration.read(Path(registration.path)), namespace))
