"""Our two images, run as a cluster runs them: another user, nothing to write to but /tmp, no capability."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from healthrisk.registry.provenance import git_revision
from tests.support.patience import run

# What a restricted pod gets, said in docker's words.
RESTRICTED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host")


@pytest.fixture(scope="session")
def image() -> Callable[[str], str]:
    """Return the id of one of our images, built by `make images` of what is checked out here."""

    def find(name: str) -> str:
        try:
            inspected = run(["docker", "image", "inspect", "--format", "{{json .}}", f"healthrisk/{name}"])
        except FileNotFoundError:
            pytest.skip("there is no docker here: install it, then make images")
        if inspected.returncode:
            pytest.skip(f"there is no image healthrisk/{name} here: make images")
        about = json.loads(inspected.stdout)
        if f"HEALTHRISK_REVISION={git_revision()}" not in about["Config"]["Env"]:
            pytest.skip(f"healthrisk/{name} here was built of another revision: make images")
        return str(about["Id"])

    return find


@pytest.fixture(scope="session")
def in_image() -> Callable[..., list[str]]:
    """Return the command that runs a command in an image; `mounts` are folders seen under their own path."""

    def command(image: str, *words: str, mounts: dict[Path, str], options: tuple[str, ...] = ()) -> list[str]:
        volumes = [f"--volume={path}:{path}:{mode}" for path, mode in mounts.items()]
        return ["docker", "run", "--rm", *RESTRICTED, *volumes, *options, "--entrypoint", words[0], image, *words[1:]]

    return command
