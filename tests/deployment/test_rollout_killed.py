"""Each command of a rollout, killed before each of its writes, and run again."""

from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from healthrisk.deployment import deploy, rollout
from healthrisk.deployment.cluster import Deployed
from healthrisk.deployment.rollout import RolloutError
from healthrisk.errors import HealthriskError
from tests.support.rollouts import BESIDE, NAME, SOON, aliases, begin, gates, step, whole
from tests.support.twin_cluster import Killed, TwinCluster

pytestmark = pytest.mark.slow


@pytest.fixture
def counted(twin: TwinCluster, monkeypatch: pytest.MonkeyPatch) -> TwinCluster:
    """The registry's aliases count as writes, too."""
    for method in ("set_registered_model_alias", "delete_registered_model_alias"):
        real = getattr(MlflowClient, method)

        def write(*words: str, real: Callable[..., None] = real) -> None:
            twin.write()
            real(*words)

        monkeypatch.setattr(MlflowClient, method, write)
    return twin


# The way in, two aliases, the servers, the way in, what was the challenger's, the way in.
PROMOTION = 7


@pytest.mark.parametrize("writes", range(PROMOTION + 1))
def test_promote_is_killed_between_any_two_writes_and_run_again(
    counted: TwinCluster, registered: list[Deployed], urls: dict[str, str], writes: int
) -> None:
    whole(counted)
    counted.writes_left = writes
    if writes < PROMOTION:
        with pytest.raises(Killed):
            rollout.promote(counted, NAME, gates(), urls["second"], SOON)
        # Whoever is asked now is ready, and of the one version.
        assert list(counted.asked(NAME).values()) == [registered[1]]
        assert not counted.rolling & set(counted.asked(NAME))
    counted.writes_left = None if writes < PROMOTION else PROMOTION
    rollout.promote(counted, NAME, gates(), urls["second"], SOON)
    assert counted.writes_left in {None, 0}
    assert counted.services == {NAME: (registered[1], registered[0])}
    assert counted.rollouts == {}
    assert aliases() == ("2", None)


# Servers, two aliases, the way in.
UNDOING = 4


@pytest.mark.parametrize("writes", range(UNDOING))
def test_abort_of_a_promotion_is_killed_and_run_again(
    counted: TwinCluster,
    registered: list[Deployed],
    urls: dict[str, str],
    writes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deploy, "REACHED_WITHIN", 0)
    whole(counted)
    with pytest.raises(HealthriskError):
        rollout.promote(counted, NAME, gates(), urls["first"], SOON)
    counted.writes_left = writes
    with pytest.raises(Killed):
        rollout.abort(counted, NAME, patience=SOON)
    assert counted.asked(NAME) == {BESIDE: registered[1]}
    counted.writes_left = None
    rollout.abort(counted, NAME, patience=SOON)
    assert counted.asked(NAME) == {NAME: registered[0]}
    assert aliases() == ("1", "2")


@pytest.mark.parametrize("writes", [0, 1])
def test_start_and_step_are_killed_and_run_again(twin: TwinCluster, writes: int) -> None:
    twin.writes_left = writes
    if writes == 0:
        with pytest.raises(Killed):
            begin(twin)
        assert set(twin.asked(NAME)) == {NAME}
    else:
        begin(twin)
        with pytest.raises(Killed):
            step(twin)
        assert twin.rollouts[NAME].weight == 1
        twin.writes_left = None
        assert step(twin).rollout.weight == 10


def test_a_promotion_that_is_over_but_for_clearing_up_is_not_aborted(
    counted: TwinCluster, urls: dict[str, str]
) -> None:
    whole(counted)
    counted.writes_left = PROMOTION - 2
    with pytest.raises(Killed):
        rollout.promote(counted, NAME, gates(), urls["second"], SOON)
    counted.writes_left = None
    with pytest.raises(RolloutError, match="version 2 of heart-disease is the champion: promote ends its rollout"):
        rollout.abort(counted, NAME, patience=SOON)
