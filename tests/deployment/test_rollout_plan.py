"""What a person may plan, and that a plan comes back from where it is written down as it was."""

import datetime

import pytest

from healthrisk.deployment.cluster import Deployed
from healthrisk.deployment.rollout_plan import Plan, Rollout
from healthrisk.errors import ConfigError


def test_a_plan_is_read() -> None:
    assert Plan.of("0,1,100", sticky="x-caller", requests=5).weights == (0, 1, 100)
    assert Plan().weights == (1, 10, 50, 100)


@pytest.mark.parametrize(
    "weights", ["", "1,10", "10,1,100", "1,1,100", "-1,100", "a,100", "1,101", "100,100", "1.5,100", "1;100"]
)
def test_weights_that_are_no_shares(weights: str) -> None:
    with pytest.raises(ConfigError, match="weights '") as caught:
        Plan.of(weights)
    assert repr(weights) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sticky", "x caller"),
        ("hold_seconds", -1),
        ("hold_seconds", float("nan")),
        ("requests", 0),
        ("failed", 2),
        ("slow", -0.1),
    ],
)
def test_limits_that_are_none(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{name} ") as caught:
        Plan.of("100", **{name: value})
    assert repr(value) in str(caught.value)


def test_a_rollout_comes_back_as_it_was_written() -> None:
    versions = [Deployed(number, "s3://bundles/x", "d" * 64) for number in ("1", "2")]
    now = datetime.datetime.now(datetime.UTC)
    begun = Rollout(champion=versions[0], challenger=versions[1], plan=Plan.of("0,50,100"), since=now)
    for one in (begun, begun.next_weight(now), begun.entering("returned", now, "by hand")):
        assert Rollout.model_validate_json(one.model_dump_json()) == one
