"""Every overlay rendered once, and the schemas that its documents must keep."""

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.support.manifest_rules import Document, build, script
from tests.support.patience import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def kustomize() -> list[str]:
    """The command that builds a folder."""
    tool = shutil.which("kustomize", path=f"{ROOT / '.tools'}:{os.environ['PATH']}")
    if tool is None and shutil.which("kubectl") is None:
        pytest.skip("there is neither kustomize nor kubectl here: make test-tools")
    return [tool, "build"] if tool else ["kubectl", "kustomize"]


@pytest.fixture(scope="session")
def render(kustomize: list[str]) -> Callable[..., list[Document]]:
    """Build a folder below `manifests/overlays`, of this repository or of a copy of it, as documents."""

    @cache
    def documents(part: str, root: Path = ROOT) -> list[Document]:
        return build(kustomize, root / "manifests" / "overlays" / part)

    return documents


@pytest.fixture(scope="session")
def stage(kustomize: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run `manifests/stage` with parts and an environment; return the folder that it filled."""

    def fill(*parts: str, **environment: str) -> Path:
        folder = tmp_path_factory.mktemp("staged")
        done = script("manifests/stage", str(folder), *parts, KUSTOMIZE=" ".join(kustomize), **environment)
        assert done.returncode == 0, done.stderr
        return folder

    return fill


@pytest.fixture(scope="session")
def versions() -> dict[str, str]:
    """The pinned versions."""
    lines = (ROOT / "kind" / "versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="session")
def kubernetes_schemas(versions: dict[str, str]) -> dict[tuple[str, str], Document]:
    """Kubernetes' own OpenAPI definitions by apiVersion and kind, with no unlisted field allowed.

    They are the ones of the module `k8s.io/kubernetes`, in the version that the cluster runs.
    """
    if shutil.which("go") is None:
        pytest.skip("there is no Go here, which brings Kubernetes' schemas: install it")
    module = f"k8s.io/kubernetes@v{versions['KUBERNETES_VERSION']}"
    done = run(["go", "mod", "download", "-json", module], cwd="/")
    if done.returncode:
        pytest.skip(f"Go needs a module proxy (GOPROXY) that has {module}: {done.stdout}{done.stderr}")
    folder = Path(json.loads(done.stdout)["Dir"])
    swagger = json.loads((folder / "api" / "openapi-spec" / "swagger.json").read_text())
    definitions = swagger["definitions"]
    for name, definition in definitions.items():
        if "properties" in definition:
            definition["additionalProperties"] = False
        if name.endswith("IntOrString"):
            definition["type"] = ["integer", "string"]
    return {
        (f"{kind['group']}/{kind['version']}".lstrip("/"), kind["kind"]): {**definition, "definitions": definitions}
        for definition in definitions.values()
        for kind in definition.get("x-kubernetes-group-version-kind", ())
    }
