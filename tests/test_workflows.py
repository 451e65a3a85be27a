"""The workflows and what a release needs: clean by actionlint, every action pinned, one version everywhere."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import healthrisk
from tests.support.patience import PROCESS

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

STAGES = ["lint", "test", "train", "promote", "build", "test image", "deploy", "verify"]


def test_actionlint_finds_nothing() -> None:
    actionlint = shutil.which("actionlint")
    if actionlint is None:
        pytest.skip("actionlint is not installed (make test-tools)")
    done = subprocess.run(
        [actionlint, "-no-color", *map(str, WORKFLOWS)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PROCESS,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_commit_and_names_its_version(workflow: Path) -> None:
    used = [line.strip() for line in workflow.read_text().splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_make_target_they_run_exists(workflow: Path) -> None:
    declared = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    run = set(re.findall(r"\bmake ([a-z-]+)", workflow.read_text()))
    assert run
    assert run <= declared


def test_both_systems_run_the_same_stages_by_the_same_targets() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    steps = [step for job in jobs for step in job["steps"] if step.get("name") in STAGES]
    on_github = {step["name"]: targets(step["run"]) for step in steps}
    jenkins = re.split(r"stage\('([a-z ]+)'\)", (ROOT / ".ci" / "Jenkinsfile").read_text())[1:]
    at_a_site = {stage: targets(body) for stage, body in zip(jenkins[::2], jenkins[1::2], strict=True)}
    assert list(on_github) == list(at_a_site) == STAGES
    assert on_github == at_a_site
    declared = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert all(run and set(run) <= declared for run in at_a_site.values())


def targets(script: str) -> list[str]:
    """Return the targets that a script makes, in order."""
    return re.findall(r"\bmake ([a-z-]+)", script)


@pytest.mark.parametrize("target", ["pipeline", "serving"])
def test_a_release_names_an_image_as_the_manifests_pin_it(target: str) -> None:
    (line,) = re.findall(r"^ +(image=ghcr\.io/.*)$", (ROOT / ".github/workflows/release.yml").read_text(), re.MULTILINE)
    context = {"GITHUB_REPOSITORY_OWNER": "Owner", "GITHUB_REF_NAME": f"v{healthrisk.__version__}", "TARGET": target}
    named = subprocess.run(
        ["bash", "-c", f"{line}; echo $image"], check=True, capture_output=True, text=True, timeout=PROCESS, env=context
    )
    pins = yaml.safe_load((ROOT / "manifests" / "images" / "kustomization.yaml").read_text())["images"]
    (pin,) = (pin for pin in pins if pin["name"] == f"healthrisk/{target}")
    assert named.stdout.strip() == f"ghcr.io/owner/{pin['newName']}:{pin['newTag']}"


def test_the_changelog_knows_the_version() -> None:
    changelog = (ROOT / ".github" / "CHANGELOG.md").read_text()
    assert f"## [{healthrisk.__version__}]" in changelog
    assert re.findall(r"^## \[(.*)\]$", changelog, re.MULTILINE)[0] == "Unreleased"
