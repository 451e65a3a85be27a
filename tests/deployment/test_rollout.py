"""Every move of a rollout, on a cluster in memory; the servers that promote asks, and the registry, are real."""

import dataclasses
import datetime

import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment import deploy, rollout
from healthrisk.deployment.cluster import ClusterError, Deployed, RolloutMovedError
from healthrisk.deployment.deploy import DeployError
from healthrisk.deployment.rollout import RolloutError
from healthrisk.deployment.rollout_gates import Gate, Verdict
from healthrisk.deployment.rollout_plan import Plan, Rollout
from healthrisk.deployment.rollout_waiting import step_until_over
from healthrisk.errors import ConfigError, HealthriskError, SourceError
from healthrisk.registry import retirement
from healthrisk.registry.registration import Registration
from healthrisk.registry.retirement import RetiredError
from tests.support.records import done_to
from tests.support.rollouts import BESIDE, NAME, SOON, aliases, begin, gates, step, told, whole
from tests.support.twin_cluster import TwinCluster

pytestmark = pytest.mark.slow


def test_the_weights_come_one_after_another(twin: TwinCluster) -> None:
    assert begin(twin).weight == 1
    assert told() == "rolling out: 1 % of requests"
    assert [step(twin).rollout.weight for _ in range(3)] == [10, 50, 100]
    assert set(twin.asked(NAME)) == {BESIDE}
    assert step(twin).next == "promote"
    assert twin.rollout(NAME).weight == 100
    assert aliases() == ("1", "2")


def test_what_the_deploy_step_begins(twin: TwinCluster, registered: list[Deployed]) -> None:
    version = registered[1]
    registration = Registration(
        name=NAME,
        version="2",
        alias="challenger",
        reason="until it is rolled out",
        bundle=version.bundle,
        digest=version.digest,
        run="",
        awaits_rollout=True,
    )
    said = rollout.begin(twin, registration, "5,100")
    assert said.startswith("version 2 has 5 % of requests, held for ")
    assert "python -m healthrisk rollout step --wait --dataset heart-disease" in said
    begun = twin.rollout(NAME)
    # Its pod went with its node, and is started again.
    assert rollout.begin(twin, registration, "5,100").startswith("version 2 has 5 % of requests, held for ")
    assert twin.rollout(NAME) == begun
    other = registration.model_copy(update={"version": "3", "digest": "d" * 64})
    with pytest.raises(RolloutError, match="version 2 of heart-disease is being rolled out"):
        rollout.begin(twin, other, "100")
    with pytest.raises(ConfigError, match="weights '5'"):
        rollout.begin(twin, other, "5")


def test_who_waits_is_told_and_goes_on_to_the_end(twin: TwinCluster, capsys: pytest.CaptureFixture[str]) -> None:
    begin(twin)
    away = [SourceError("Prometheus does not answer"), None, ClusterError("the cluster does not answer")]

    def look() -> rollout.RolloutStatus:
        if away and (error := away.pop()):
            raise error
        return step(twin)

    assert step_until_over(look, 0).next == "promote"
    assert twin.rollout(NAME).weight == 100
    told = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[0] for line in told] == [
        "the cluster does not answer",
        "version 2 has 10 % of requests",
        "Prometheus does not answer",
        "version 2 has 50 % of requests",
        "version 2 has 100 % of requests",
    ]


def test_who_waits_ends_where_it_goes_back(twin: TwinCluster) -> None:
    begin(twin)
    verdicts: list[Verdict] = ["failed", "inconclusive", "passed"]
    status = step_until_over(lambda: step(twin, verdicts.pop()), 0)
    assert (status.rollout.phase, verdicts) == ("returned", [])
    with pytest.raises(RolloutError, match="no rollout of heart-disease is under way"):
        step_until_over(lambda: step(twin), 0)


def test_a_weight_is_held_for_its_time(twin: TwinCluster) -> None:
    begun = begin(twin, Plan(hold_seconds=3600))
    assert step(twin).rollout == begun
    assert step(twin).next.startswith("version 2 has 1 % of requests, held for 3")
    earlier = begun.model_copy(update={"since": begun.since - datetime.timedelta(seconds=3600)})
    twin.rollouts[NAME] = earlier
    moved = step(twin).rollout
    assert moved.weight == 10
    assert moved.since > begun.since


def test_a_weight_is_held_until_there_is_enough_to_say(twin: TwinCluster) -> None:
    begun = begin(twin)
    status = step(twin, "inconclusive")
    assert status.rollout == begun
    assert status.next.endswith("errors: 3 of 100, where 0.10% may")


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_gate_that_fails_sends_it_back_in_one_write(twin: TwinCluster, steps: int) -> None:
    begin(twin)
    for _ in range(steps):
        step(twin)
    twin.writes_left = 1
    status = step(twin, "failed")
    assert twin.writes_left == 0
    assert status.rollout.phase == "returned"
    assert set(twin.asked(NAME)) == {NAME}
    assert told() == "rolled back: errors: 3 of 100, where 0.10% may"
    assert rollout.look(twin, NAME, gates()).next == "version 1 has all requests: errors: 3 of 100, where 0.10% may"
    with pytest.raises(RolloutError, match="no rollout of heart-disease is under way"):
        step(twin)


def test_a_challenger_that_is_down_goes_back(twin: TwinCluster) -> None:
    begin(twin)
    twin.broken.add("2")
    assert step(twin).rollout.reason == f"{BESIDE} was not ready within 0 s: 0 of 1 replicas are available"
    assert set(twin.asked(NAME)) == {NAME}


@pytest.mark.parametrize("service", [NAME, BESIDE])
def test_another_version_in_its_place_ends_it(twin: TwinCluster, service: str) -> None:
    begin(twin)
    twin.services[service] = Deployed("3", "file:///elsewhere", "d" * 64), None
    assert step(twin).rollout.reason.startswith(f"{service} does not serve version ")
    assert set(twin.asked(NAME)) == {NAME}


def test_a_rollout_that_went_back_can_be_begun_again(twin: TwinCluster) -> None:
    begin(twin)
    step(twin, "failed")
    assert begin(twin).weight == 1


def test_a_weight_of_0_mirrors(twin: TwinCluster) -> None:
    begun = begin(twin, Plan(hold_seconds=0, weights=(0, 100)))
    assert rollout.look(twin, NAME, None).next == "version 2 has mirrored requests, held for 0 s more"
    assert set(twin.asked(NAME)) == {NAME}
    assert begun.is_shared
    assert step(twin).rollout.weight == 100


def test_who_wrote_meanwhile_is_not_overwritten(twin: TwinCluster) -> None:
    begin(twin)

    def slow(*_: object) -> tuple[Gate, ...]:
        rollout.abort(twin, NAME, patience=SOON)
        return ()

    with pytest.raises(RolloutMovedError):
        rollout.step(twin, NAME, slow, SOON)
    assert twin.rollouts[NAME].phase == "returned"


def test_abort_wins_against_a_step_at_the_same_time(twin: TwinCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(twin)
    once = iter([True])
    read = TwinCluster.rollout

    def then_move(self: TwinCluster, name: str) -> Rollout | None:
        current = read(self, name)
        if next(once, False):
            step(twin)
        return current

    monkeypatch.setattr(TwinCluster, "rollout", then_move)
    assert rollout.abort(twin, NAME, patience=SOON).rollout.reason == "by hand"
    assert set(twin.asked(NAME)) == {NAME}


@pytest.mark.parametrize("steps", range(4))
def test_abort_is_one_write(twin: TwinCluster, steps: int) -> None:
    begin(twin)
    for _ in range(steps):
        step(twin)
    twin.writes_left = 1
    rollout.abort(twin, NAME, patience=SOON)
    assert set(twin.asked(NAME)) == {NAME}
    assert told() == "rolled back: by hand"
    assert aliases() == ("1", "2")


def test_abort_needs_no_registry(twin: TwinCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(twin)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    rollout.abort(twin, NAME, patience=SOON)
    assert set(twin.asked(NAME)) == {NAME}


def test_promote_moves_alias_and_requests(twin: TwinCluster, registered: list[Deployed], urls: dict[str, str]) -> None:
    whole(twin)
    rollout.promote(twin, NAME, gates(), urls["second"], SOON)
    assert twin.services == {NAME: (registered[1], registered[0])}
    assert twin.rollouts == {}
    assert twin.routes == {NAME}
    assert aliases() == ("2", None)
    assert told() == "serving"
    assert done_to("2") == [("rollout", "rolling out: 100 % of requests"), ("promoted", "serving")]
    assert deploy.rollback(twin, NAME) == (registered[1], registered[0])
    assert aliases() == ("1", None)


def test_promote_takes_who_has_all_requests(twin: TwinCluster, urls: dict[str, str]) -> None:
    begin(twin)
    with pytest.raises(RolloutError, match="version 2 of heart-disease has 1 % of requests: promote takes one that"):
        rollout.promote(twin, NAME, gates(), urls["second"], SOON)
    assert aliases() == ("1", "2")


@pytest.mark.parametrize(
    ("hold", "errors", "reason"),
    [
        (3600, "passed", "version 2 has 100 % of requests, held for 3"),
        (0, "inconclusive", "errors: 3 of 100"),
        (0, "failed", "errors: 3 of 100"),
    ],
)
def test_promote_takes_who_has_had_them_long_and_well_enough(
    twin: TwinCluster, urls: dict[str, str], hold: float, errors: Verdict, reason: str
) -> None:
    begin(twin, Plan(hold_seconds=hold, weights=(100,)))
    with pytest.raises(RolloutError, match=f"version 2 of heart-disease is not promoted: .*{reason}"):
        rollout.promote(twin, NAME, gates(errors), urls["second"], SOON)
    assert aliases() == ("1", "2")
    assert twin.rollouts[NAME].phase == "weighing"


def test_what_answers_otherwise_gets_no_request(
    twin: TwinCluster, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "REACHED_WITHIN", 0)
    whole(twin)
    with pytest.raises(HealthriskError, match=r"the server answered 404: .*"):
        rollout.promote(twin, NAME, gates(), urls["first"], SOON)
    assert set(twin.asked(NAME)) == {BESIDE}
    with pytest.raises(RolloutError, match="version 2 of heart-disease is being promoted: run promote again"):
        step(twin)
    rollout.promote(twin, NAME, gates(), urls["second"], SOON)
    assert set(twin.services) == {NAME}


def test_abort_undoes_a_promotion_that_is_not_over(
    twin: TwinCluster, registered: list[Deployed], urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "REACHED_WITHIN", 0)
    whole(twin)
    with pytest.raises(HealthriskError):
        rollout.promote(twin, NAME, gates(), urls["first"], SOON)
    assert aliases() == ("2", None)
    rollout.abort(twin, NAME, patience=SOON)
    assert twin.asked(NAME) == {NAME: registered[0]}
    assert not twin.rolling
    assert aliases() == ("1", "2")


def test_what_cannot_be_begun(twin: TwinCluster, registered: list[Deployed]) -> None:
    def refused(reason: str) -> None:
        with pytest.raises(HealthriskError, match=reason):
            begin(twin)
        assert set(twin.asked(NAME)) <= {NAME}

    twin.broken.add("2")
    refused(f"{BESIDE} was not ready within 0 s")
    twin.services[BESIDE] = Deployed("7", "file:///elsewhere", "d" * 64), None
    refused("version '2' of heart-disease is not served beside the champion: version 7 is")
    twin.services[BESIDE] = dataclasses.replace(registered[0], number="2"), None
    refused("version 2 of heart-disease is the champion already")
    del twin.services[BESIDE]
    refused("no version of heart-disease is served beside version 1, the champion")
    del twin.services[NAME]
    with pytest.raises(RolloutError, match="no version of heart-disease is served: the first is deployed"):
        begin(twin)


def test_a_retired_version_comes_in_and_back_by_no_command(twin: TwinCluster, registered: list[Deployed]) -> None:
    first, second = registered
    retirement.retire(NAME, "2", "wrong for women", "somebody")
    says = "version 2 of heart-disease is retired: wrong for women"
    with pytest.raises(RetiredError, match=says):
        begin(twin)
    what = {"name": NAME, "version": "2", "bundle": second.bundle, "digest": second.digest, "run": "", "reason": ""}
    with pytest.raises(RetiredError, match=says):
        deploy.deploy(Registration(alias="champion", **what), "healthrisk")
    twin.services = {NAME: (first, second)}
    with pytest.raises(RetiredError, match=says):
        deploy.rollback(twin, NAME)
    assert twin.services == {NAME: (first, second)}


def test_a_version_that_is_retired_while_it_comes_in_goes_back(twin: TwinCluster, urls: dict[str, str]) -> None:
    begin(twin)
    retirement.retire(NAME, "2", "wrong for women", "somebody")
    status = step(twin)
    assert (status.rollout.phase, set(twin.asked(NAME))) == ("returned", {NAME})
    assert told() == "rolled back: version 2 of heart-disease is retired: wrong for women"


def test_no_promotion_ends_with_a_retired_version(
    twin: TwinCluster, registered: list[Deployed], urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "REACHED_WITHIN", 0)
    whole(twin)
    with pytest.raises(HealthriskError, match="the server answered 404"):
        rollout.promote(twin, NAME, gates(), urls["first"], SOON)
    applied = list(twin.applied)
    retirement.retire(NAME, "2", "wrong for women", "somebody")
    with pytest.raises(RetiredError, match="version 2 of heart-disease is retired: wrong for women"):
        rollout.promote(twin, NAME, gates(), urls["second"], SOON)
    retirement.retire(NAME, "1", "too old", "somebody")
    with pytest.raises(RetiredError, match="version 1 of heart-disease is retired: too old"):
        rollout.abort(twin, NAME, patience=SOON)
    assert (twin.applied, aliases()) == (applied, (None, None))
    assert set(twin.asked(NAME)) == {BESIDE}


def test_one_rollout_at_a_time(twin: TwinCluster) -> None:
    begun = begin(twin)
    with pytest.raises(RolloutError, match="version 2 of heart-disease is being rolled out: promote or abort it first"):
        begin(twin)
    assert twin.rollouts[NAME] == begun


@pytest.mark.parametrize("act", ["look", "step", "abort", "promote"])
def test_where_none_is_under_way(twin: TwinCluster, act: str) -> None:
    words = {"look": (gates(),), "step": (gates(),), "abort": (), "promote": (gates(), "http://127.0.0.1:9")}[act]
    with pytest.raises(RolloutError, match="no rollout of heart-disease is under way"):
        getattr(rollout, act)(twin, NAME, *words)


def test_a_challenger_takes_no_other_place_during_a_rollout(
    twin: TwinCluster, bundles: list[Bundle], urls: dict[str, str]
) -> None:
    begin(twin)
    newer = Deployed("3", "file:///elsewhere", "d" * 64)
    asked = {"champion": urls["first"], "challenger": urls["beside"]}
    with pytest.raises(DeployError, match="version 3 was not served beside the champion: version 2 is being rolled"):
        deploy.challenger(twin, bundles[1], newer, asked)
    assert twin.deployed(BESIDE).number == "2"


def test_a_challenger_with_requests_is_not_removed_where_it_is_deployed_again_and_fails(
    twin: TwinCluster, registered: list[Deployed], bundles: list[Bundle], urls: dict[str, str]
) -> None:
    begin(twin)
    twin.broken = {"2"}
    asked = {"champion": urls["first"], "challenger": urls["beside"]}
    with pytest.raises(DeployError, match="version 2 was not served beside the champion: "):
        deploy.challenger(twin, bundles[1], registered[1], asked)
    assert twin.asked(NAME) == dict(zip((NAME, BESIDE), registered, strict=True))
    assert step(twin).rollout.phase == "returned"
    assert twin.asked(NAME) == {NAME: registered[0]}


def test_deploying_a_champion_ends_a_rollout(
    twin: TwinCluster, bundles: list[Bundle], registered: list[Deployed], urls: dict[str, str]
) -> None:
    begin(twin)
    deploy.champion(twin, bundles[1], registered[1], urls["second"])
    assert twin.asked(NAME) == {NAME: registered[1]}
    assert twin.rollouts == {}
