"""The step that puts a registered version behind its inference service; it runs on a cluster only."""

from kfp import dsl

from healthrisk.steps import component


@component
def deploy(namespace: str, registration: dsl.Input[dsl.Artifact]) -> None:
    """Apply the inference service, wait for it, replay the golden rows; take the version back if anything differs.

    Args:
        namespace: Where models are served.
        registration: What register wrote: the version, its alias and its bundle.
    """
    from pathlib import Path

    from healthrisk.deployment.deploy import deploy
    from healthrisk.processes import step
    from healthrisk.registry.registration import Registration

    with step() as log:
        log.info(deploy(Registration.read(Path(registration.path)), namespace))
