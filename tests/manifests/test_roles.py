"""Who of the staff may do what: each role's rules are walked, and each has what its commands ask of a cluster."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.manifest_rules import Document

LOOKING = {"get", "list", "watch"}
# What brings a version in, or takes it away.
SERVING = {"inferenceservices", "httproutes"}
# What opens a pod, or what is in a secret, to whoever may call it.
OPENING = {"secrets", "pods/exec", "pods/attach", "pods/portforward", "pods/log", "serviceaccounts/token"}
GROUPS = ("viewers", "trainers", "promoters")
Right = tuple[str, str, str]


@pytest.fixture(scope="module", params=["small", "kind", "production"])
def rights(request: pytest.FixtureRequest, render: Callable[..., list[Document]]) -> dict[str, set[Right]]:
    """Return what each group may do, as namespace, resource and verb."""
    documents = render(request.param)
    rules = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one["rules"]
        for one in documents
        if one["kind"] == "Role"
    }
    return {group: set(_rights(documents, rules, f"healthrisk:{group}")) for group in GROUPS}


def _rights(documents: list[Document], rules: dict[tuple[str, str], list[Document]], group: str) -> Iterator[Right]:
    for one in documents:
        if group not in [subject["name"] for subject in one.get("subjects", ()) if subject["kind"] == "Group"]:
            continue
        # No group has a right beyond the two namespaces.
        assert (one["kind"], one["roleRef"]["kind"]) == ("RoleBinding", "Role")
        namespace = one["metadata"]["namespace"]
        for rule in rules[namespace, one["roleRef"]["name"]]:
            yield from ((namespace, resource, verb) for resource in rule["resources"] for verb in rule["verbs"])


def test_a_viewer_has_no_verb_that_writes(rights: dict[str, set[Right]]) -> None:
    assert {verb for _, _, verb in rights["viewers"]} == LOOKING
    assert ("healthrisk", "inferenceservices", "get") in rights["viewers"]


def test_a_trainer_starts_runs_and_promotes_nothing(rights: dict[str, set[Right]]) -> None:
    more = rights["trainers"] - rights["viewers"]
    assert more == {("kubeflow", "services/proxy", verb) for verb in ("get", "create", "delete")}
    assert {verb for _, resource, verb in rights["trainers"] if resource in SERVING} == LOOKING


def test_a_promoter_does_what_rollouts_do_and_starts_no_run(rights: dict[str, set[Right]]) -> None:
    assert all(namespace == "healthrisk" for namespace, _, _ in rights["promoters"])
    for resource in SERVING:
        verbs = {verb for _, one, verb in rights["promoters"] if one == resource}
        assert {"get", "create", "patch", "delete"} <= verbs


def test_nobody_opens_pods_or_secrets_or_gives_rights(rights: dict[str, set[Right]]) -> None:
    for group, allowed in rights.items():
        resources = {resource for _, resource, _ in allowed}
        assert not resources & (OPENING | {"roles", "rolebindings"}), group
        assert not {"*", "impersonate", "escalate", "bind"} & {verb for _, _, verb in allowed}, group


def test_a_promoter_may_what_the_deploy_step_may_of_models(render: Callable[..., list[Document]]) -> None:
    roles = {one["metadata"]["name"]: one["rules"] for one in render("production") if one["kind"] == "Role"}

    def pairs(*names: str) -> set[tuple[str, str]]:
        rules = [rule for name in names for rule in roles[name]]
        return {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}

    assert pairs("deployer", "route-deployer") <= pairs("viewer", "promoter")
