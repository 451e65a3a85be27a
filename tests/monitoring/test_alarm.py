import datetime

import numpy as np
import pytest
from scipy import optimize, special

from healthrisk.monitoring import alarm
from healthrisk.monitoring.figures import Bins, area_and_error
from healthrisk.monitoring.recalibration import Recalibration, fit, fit_within, log_likelihood
from healthrisk.receipts.validation_bins import MIDDLES

START = datetime.date(2026, 1, 1)
LOGIT = special.logit(MIDDLES)
ALL = ("", "")
Days = dict[datetime.date, dict[tuple[str, str], Bins]]


def world(slope: float = 1.0, intercept: float = 0.0, rows: float = 400.0) -> Bins:
    """Expected counts of a model whose risks are recalibrated so; by slope 1 it means what it says."""
    density = MIDDLES**0.2 * (1 - MIDDLES) ** 0.6
    each, came = rows * density / density.sum(), special.expit(intercept + slope * LOGIT)
    return Bins(each * came, each * (1 - came), MIDDLES)


def days(of: Bins, count: int, daily: int, seed: int, first: int = 0) -> Days:
    rng = np.random.default_rng(seed)
    cells = np.concatenate([of.events, of.others])
    drawn = rng.multinomial(daily, cells / cells.sum(), size=count).reshape(count, 2, -1).astype(float)
    return {START + datetime.timedelta(days=first + day): {ALL: Bins(*drawn[day], of.means)} for day in range(count)}


def fallen(of: Bins, fall: float) -> Bins:
    """The world in which so many outcomes are drawn blindly that the area has fallen."""

    def mixed(share: float) -> Bins:
        odds = of.events.sum() / of.rows.sum()
        events = (1 - share) * of.events + share * odds * of.rows
        return Bins(events, of.rows - events, of.means)

    goal = area_and_error(of)[0] - fall
    return mixed(optimize.brentq(lambda share: area_and_error(mixed(share))[0] - goal, 0, 1))


@pytest.mark.slow
def test_an_unchanged_world_hardly_ever_raises_the_alarm() -> None:
    states = [alarm.watch({ALL: world()}, days(world(), 100, 12, seed), "v") for seed in range(40)]
    assert {state.outcomes for state in states} == {1200}
    # Ville: 1 in 20 at most, and so more than 6 of 40 is less than one chance in a hundred.
    assert sum(state.raised is not None for state in states) <= 6


@pytest.mark.slow
def test_a_fall_of_the_area_is_found_after_the_stated_number_of_outcomes() -> None:
    stated = alarm.needed(world(), 2)
    daily = 25
    raised = [
        alarm.watch({ALL: world()}, days(fallen(world(), alarm.AUC_FALL), -(-stated // daily), daily, seed), "v").raised
        for seed in range(40)
    ]
    # The power is stated as .8: fewer than 26 of 40 is one chance in a hundred.
    assert sum(day is not None for day in raised) >= 26


@pytest.mark.parametrize("slope", [0.45, 2.2])
def test_a_slope_outside_is_found_and_named(slope: float) -> None:
    state = alarm.watch({ALL: world()}, days(world(slope), 100, 60, 1), "v")
    assert state.raised is not None
    assert state.evidence >= state.threshold == 20
    if slope > 1:
        # Risks that are too timid rank as well or better.
        assert state.largest == "calibration slope of all"


def test_a_group_gone_wrong_is_found_and_named() -> None:
    groups = {("sex", "female"): world(rows=150), ("sex", "male"): world(rows=250)}
    after = {("sex", "female"): fallen(groups["sex", "female"], 0.2), ("sex", "male"): groups["sex", "male"]}
    arrived: Days = {}
    for seed, (group, of) in enumerate(after.items()):
        for day, drawn in days(of, 100, 10, seed).items():
            arrived.setdefault(day, {})[group] = drawn[ALL]
    for drawn_groups in arrived.values():
        one, other = drawn_groups.values()
        drawn_groups[ALL] = Bins(one.events + other.events, one.others + other.others, MIDDLES)
    state = alarm.watch({ALL: world(), **groups}, arrived, "v")
    assert state.raised is not None
    assert state.largest.endswith(" of sex female")


def test_an_alarm_stays_raised_and_the_same_outcomes_give_the_same_state() -> None:
    arrived = days(fallen(world(), 0.2), 60, 25, 1)
    state = alarm.watch({ALL: world()}, arrived, "v")
    assert state.raised is not None
    later = arrived | days(world(), 100, 25, 2, first=60)
    assert alarm.watch({ALL: world()}, later, "v").raised == state.raised
    assert alarm.watch({ALL: world()}, dict(reversed(arrived.items())), "v") == state


def test_a_whole_year_in_one_file_is_looked_at_in_parts() -> None:
    state = alarm.watch({ALL: world()}, days(fallen(world(), 0.1), 1, 4000, 3), "v")
    assert state.raised == START


def test_groups_with_too_few_in_validation_are_left_out() -> None:
    few = {ALL: world(rows=20)}
    state = alarm.watch(few, days(fallen(world(), 0.2), 50, 50, 1), "v")
    assert (state.raised, state.needed, state.largest) == (None, None, "")


@pytest.mark.parametrize("slope", [0.3, 1.0, 1.9])
def test_recalibrations_are_those_of_a_general_optimizer(slope: float) -> None:
    bins = world(slope, 0.4, 900)
    none = Recalibration(0.0, 1.0)
    own = fit(LOGIT, bins, none)
    bounded = fit_within(LOGIT, bins, (0.8, 1.25), own)
    from_afar = fit_within(LOGIT, bins, (0.8, 1.25), none)
    assert (from_afar.intercept, from_afar.slope) == pytest.approx((bounded.intercept, bounded.slope), abs=1e-4)
    assert (own.intercept, own.slope) == pytest.approx((0.4, slope), abs=0.02)

    def height(at: np.ndarray) -> float:
        return -log_likelihood(Recalibration(*at), LOGIT, bins)

    best = optimize.minimize(height, [0.0, 1.0], bounds=[(-5, 5), (0.8, 1.25)], tol=1e-12)
    assert log_likelihood(bounded, LOGIT, bins) == pytest.approx(-best.fun, abs=1e-4)
    assert 0.8 <= bounded.slope <= 1.25


def test_outcomes_separated_perfectly_have_a_recalibration() -> None:
    bins = Bins(np.where(MIDDLES > 0.5, 3.0, 0), np.where(MIDDLES < 0.5, 3.0, 0), MIDDLES)
    none = Recalibration(0.0, 1.0)
    for fitted in (fit(LOGIT, bins, none), fit_within(LOGIT, bins, (0.8, 1.25), none)):
        assert np.isfinite([fitted.intercept, fitted.slope]).all()
