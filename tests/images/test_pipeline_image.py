"""The pipeline image executes the compiled components' own commands, restricted as a pod is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from healthrisk import spec as specs
from healthrisk.bundle import Bundle
from tests.support.launcher import Launcher


@pytest.fixture(scope="module")
def launched(
    image: Callable[[str], str],
    in_image: Callable[..., list[str]],
    own: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Launcher:
    pipeline, table, folder = image("pipeline"), Path(own[3]), tmp_path_factory.mktemp("pods")
    # Another user comes through these.
    for path in (folder, table.parent, *folder.parents[:2]):
        path.chmod(0o777)
    options = (f"--env=HEALTHRISK_HOME={folder / 'home'}", f"--workdir={folder}", "--memory=4g")

    def within(command: list[str]) -> list[str]:
        return in_image(pipeline, *command, mounts={folder: "rw", table.parent: "ro"}, options=options)

    parameters = {"spec": specs.load(own[1]).to_json(), "data": str(table), "seed": 0, "level": "quick", "rollout": ""}
    parameters |= {"override_gate": "", "override_by": ""}
    launcher = Launcher(parameters, folder, within)
    launcher.run_all()
    return launcher


def test_the_commands_of_the_golden_file_train_and_register(launched: Launcher) -> None:
    registered = json.loads(Path(launched.artifacts["register", "registration"]["uri"]).read_text())
    assert (registered["version"], registered["alias"]) == ("1", "champion")
    bundle = launched.folder / "home" / "bundles" / "readmission" / registered["digest"]
    assert Bundle.open(bundle, registered["digest"]).spec.name == "readmission"
