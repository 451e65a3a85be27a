"""What outcomes and served predictions say, as gauges and in a report; what was served comes by a real Prometheus."""

import datetime
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from healthrisk.bundle import Bundle
from healthrisk.errors import SourceError
from healthrisk.inference.scorer import Scorer
from healthrisk.monitoring import live_section, served_predictions
from healthrisk.monitoring.estimate import BLIND
from healthrisk.monitoring.live_gauges import LiveGauges
from healthrisk.monitoring.outcome_intake import OutcomeIntake, Returned
from healthrisk.monitoring.outcome_store import Cell, OutcomeStore, ServedCell
from healthrisk.monitoring.performance import LivePerformance, assess
from healthrisk.monitoring.performance_table import lines
from healthrisk.monitoring.version_comparison import Difference
from healthrisk.receipts import probability_bins
from healthrisk.serving.metrics import Distributions, ServerMetrics
from tests.support import sample_bundle
from tests.support.commands import healthrisk
from tests.support.outcomes import KEY, link_bundle, outcomes_of
from tests.support.prometheus import wait_for

Scraping = Callable[..., AbstractContextManager[str]]
TODAY = datetime.datetime.now(datetime.UTC).date()


@pytest.fixture
def bundle(bundle_of: Callable[..., Bundle]) -> Bundle:
    return bundle_of("heart-disease", "logistic_regression")


@pytest.fixture
def store(tmp_path: Path) -> OutcomeStore:
    return OutcomeStore(f"sqlite:///{tmp_path}/outcomes.db")


def bring_back(store: OutcomeStore, bundle: Bundle, share: float = 1.0) -> int:
    """Bring back the outcomes of the first rows; return how many."""
    outcomes = outcomes_of(bundle)
    outcomes = outcomes[: int(share * len(outcomes))]
    OutcomeIntake(store, (KEY.encode(),), lambda *_: bundle).take([Returned(**one) for one in outcomes])
    return len(outcomes)


def served_counts(bundle: Bundle, day: datetime.date = TODAY, times: int = 1) -> dict[ServedCell, int]:
    """Return the counts of all rows, served so many times."""
    matrix, _ = sample_bundle.rows_of(bundle.spec, 7)
    bins = probability_bins.bins(probability_bins.probabilities(bundle.spec, Scorer(bundle).probabilities(matrix)))
    return {
        ServedCell(bundle.spec.name, bundle.digest, day, label, int(place)): int(count) * times
        for column, label in enumerate(probability_bins.labels(bundle.spec))
        for place, count in zip(*np.unique(bins[:, column], return_counts=True), strict=True)
    }


def assessed(store: OutcomeStore, bundle: Bundle) -> LivePerformance:
    return assess(store.counts(bundle.spec.name), store.served(bundle.spec.name), lambda *_: bundle)


def test_what_servers_count_comes_by_way_of_prometheus(
    store: OutcomeStore, bundle_of: Callable[..., Bundle], scraping: Scraping
) -> None:
    bundle = bundle_of("obesity", "random_forest")
    registry = CollectorRegistry()
    # A challenger's name is not its data set's.
    ServerMetrics("obesity-challenger", bundle, registry)
    counted = Distributions("obesity-challenger", bundle, registry)
    matrix, _ = sample_bundle.rows_of(bundle.spec, 7)
    with scraping(registry) as url:
        wait_for(url, "prediction_bins_total == 0", 8 * probability_bins.BINS)
        counted.add(matrix, Scorer(bundle).probabilities(matrix))
        wait_for(url, f'sum(prediction_bins_total{{label="event"}}) == {len(matrix)}')
        # Prometheus extrapolates an increase towards its window's ends, by one of its samples or so.
        wait_for(url, "count_over_time(predictions_in_flight[5m]) >= 12")
        for _ in range(2):
            served_predictions.record(url, store, datetime.datetime.now(datetime.UTC))
        known = store.served("obesity")
    cells = {cell._replace(day=TODAY): count for cell, count in known.items()}
    expected = served_counts(bundle)
    assert cells.keys() <= expected.keys()
    for cell, count in expected.items():
        assert cells.get(cell, 0) == pytest.approx(count, rel=0.2, abs=1)


def test_of_what_is_noted_twice_the_larger_count_stays(store: OutcomeStore, bundle: Bundle) -> None:
    once, twice = served_counts(bundle), served_counts(bundle, times=2)
    for counts in (once, twice, once):
        store.note_served(counts)
    assert store.served(bundle.spec.name) == twice


def test_the_share_that_has_come_back_is_shown(store: OutcomeStore, bundle: Bundle) -> None:
    store.note_served(served_counts(bundle))
    before = datetime.date(2020, 2, 3)
    store.note_served(served_counts(bundle, before))
    rows = bring_back(store, bundle, 0.5)
    (version,) = assessed(store, bundle).versions
    slices = {(one.month, one.grouping, one.label): one for one in version.slices if not one.grouping}
    whole = slices["", "", probability_bins.EVENT]
    assert (whole.served, whole.returned) == (606, pytest.approx(rows / 606))
    assert slices["2020-02", "", probability_bins.EVENT].returned == 0
    assert slices["2020-02", "", probability_bins.EVENT].live.rows == 0
    assert slices[f"{TODAY:%Y-%m}", "", probability_bins.EVENT].returned == pytest.approx(rows / 303)
    # Validated on these very rows, and served them: what is estimated is what was validated.
    assert whole.estimated.roc_auc.mean == pytest.approx(whole.validated.roc_auc.mean, abs=0.02)
    assert all(one.served is None for one in version.slices if one.grouping)


def test_without_any_outcome_there_is_the_estimate(store: OutcomeStore, bundle: Bundle) -> None:
    store.note_served(served_counts(bundle))
    (version,) = assessed(store, bundle).versions
    whole = next(one for one in version.slices if not one.month)
    assert (whole.live.rows, whole.live.roc_auc, whole.returned) == (0, None, 0)
    assert 0.8 < whole.estimated.roc_auc.mean < 1
    assert version.alarm.raised is None


@pytest.mark.slow
def test_versions_stand_side_by_side(store: OutcomeStore, bundle: Bundle, bundle_of: Callable[..., Bundle]) -> None:
    forest = bundle_of("heart-disease", "random_forest")
    bundles = {one.digest: one for one in (bundle, forest)}
    intake = OutcomeIntake(store, (KEY.encode(),), lambda _, digest: bundles[digest])

    def known_now() -> LivePerformance:
        return assess(store.counts("heart-disease"), {}, lambda _, digest: bundles[digest])

    def pair() -> tuple[Difference, ...]:
        return known_now().differences

    intake.take([Returned(**one) for one in outcomes_of(bundle)])
    intake.take([Returned(**one) for one in outcomes_of(forest)[:20]])
    (begun,) = pair()
    assert (begun.roc_auc, begun.outcomes) == (None, (20, 303)), "twenty outcomes are too few to be judged"
    assert "too few outcomes yet, each by its own patients of 20" in "\n".join(lines(known_now()))
    intake.take([Returned(**one) for one in outcomes_of(forest)[:150]])
    (before,) = pair()
    assert (before.version, before.other) == (forest.version, bundle.version)
    known = known_now()
    areas = {
        version.version: next(one.live.roc_auc.mean for one in version.slices if not one.month)
        for version in known.versions
    }
    assert before.roc_auc.mean == pytest.approx(areas[forest.version] - areas[bundle.version])
    assert before.roc_auc.low < before.roc_auc.mean < before.roc_auc.high
    # What has come back need not come again; and how they vary is about what validation has said.
    assert 0 < before.needed < begun.needed
    intake.take([Returned(**one) for one in outcomes_of(forest)[:250]])
    assert pair()[0].needed < before.needed
    shown = "\n".join(lines(known))
    assert f"version {forest.version} less {bundle.version}: ROC AUC" in shown


def test_versions_are_compared_by_months_in_which_both_answered(
    store: OutcomeStore, bundle: Bundle, bundle_of: Callable[..., Bundle]
) -> None:
    forest = bundle_of("heart-disease", "random_forest")
    bundles = {one.digest: one for one in (bundle, forest)}
    OutcomeIntake(store, (KEY.encode(),), lambda _, digest: bundles[digest]).take(
        [Returned(**one) for own in bundles.values() for one in outcomes_of(own)]
    )
    counts = store.counts("heart-disease")

    def compared(counts: dict[Cell, int], served: dict[ServedCell, int] | None = None) -> tuple[Difference, ...]:
        return assess(counts, served or {}, lambda _, digest: bundles[digest]).differences

    (same,) = compared(counts)
    earlier = {
        cell._replace(month="2020-01", happened=not cell.happened): 2 * count
        for cell, count in counts.items()
        if cell.digest == bundle.digest
    }
    (beside,) = compared(counts | earlier)
    assert (beside.version, beside.other) == (forest.version, bundle.version), "it has the most outcomes now"
    sign = 1 if same.version == forest.version else -1
    assert beside.roc_auc.mean == pytest.approx(sign * same.roc_auc.mean), "what was before is nobody's fault"
    assert beside.outcomes == (303, 303)
    assert compared({cell: count for cell, count in counts.items() if cell.digest == forest.digest} | earlier) == ()
    # Served in the same month, and none of its outcomes has come back.
    none_yet = {cell: count for cell, count in counts.items() if cell.digest == bundle.digest}
    (waiting,) = compared(none_yet, served_counts(forest))
    assert (waiting.outcomes, waiting.roc_auc) == ((0, 303), None)
    assert waiting.needed > 0


def test_gauges_are_the_figures(store: OutcomeStore, bundle: Bundle) -> None:
    store.note_served(served_counts(bundle))
    bring_back(store, bundle)
    registry = CollectorRegistry()
    gauges = LiveGauges(registry)
    assert registry.get_sample_value("healthrisk_live_updated_seconds") is None
    performance = assessed(store, bundle)
    gauges.show([performance])
    (version,) = performance.versions
    own = {"model": "heart-disease", "version": bundle.version}
    for one in version.slices:
        place = {**own, "label": one.label, "grouping": one.grouping, "group": one.group}
        if not one.month:
            assert registry.get_sample_value("healthrisk_live_outcomes", place) == one.live.rows
            area = {**place, "figure": "ROC AUC", "bound": "low"}
            assert registry.get_sample_value("healthrisk_live_performance", area) == one.live.roc_auc.low
            slope = {**place, "figure": "calibration slope", "bound": "mean"}
            assert registry.get_sample_value("healthrisk_live_validated", slope) == pytest.approx(
                one.validated.calibration.calibration_slope.mean
            )
    event = {**own, "label": "event"}
    assert registry.get_sample_value("healthrisk_live_returned", event) == 1
    everybody = {**event, "grouping": "", "group": "", "figure": "sensitivity at 0.3", "bound": "mean"}
    assert registry.get_sample_value("healthrisk_live_estimated", everybody) > 0.5
    assert registry.get_sample_value("healthrisk_live_alarm", {**own, "largest": ""}) == 0
    assert registry.get_sample_value("healthrisk_live_alarm_threshold", own) == 20
    assert registry.get_sample_value("healthrisk_live_updated_seconds") > 1.7e9


def test_figures_of_too_few_outcomes_are_no_gauges(store: OutcomeStore, bundle: Bundle) -> None:
    rows = bring_back(store, bundle, 0.05)
    registry = CollectorRegistry()
    LiveGauges(registry).show([assessed(store, bundle)])
    place = {"model": "heart-disease", "version": bundle.version, "label": "event", "grouping": "", "group": ""}
    assert registry.get_sample_value("healthrisk_live_outcomes", place) == rows
    figure = {**place, "figure": "ROC AUC", "bound": "mean"}
    assert registry.get_sample_value("healthrisk_live_performance", figure) is None
    assert registry.get_sample_value("healthrisk_live_validated", figure) > 0.8


REPORT = """<nav>
<a href="#provenance">Provenance</a>
</nav>
<section id="provenance">
</section>
"""


def test_a_report_has_a_section_and_once(store: OutcomeStore, bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / f"heart-disease-{bundle.version}.html"
    path.write_text(REPORT)
    store.note_served(served_counts(bundle, times=2))
    for share in (0.3, 1.0):
        bring_back(store, bundle, share)
        performance = assessed(store, bundle)
        live_section.write(path, performance)
    page = path.read_text()
    assert page.count('<section id="live">') == page.count('<a href="#live">') == 1
    assert page.index('id="live"') < page.index('id="provenance"')
    assert "393 outcomes of 606 predictions, 65 %" in page
    assert "The alarm is silent" in page
    assert BLIND in page
    whole = next(one for one in performance.versions[0].slices if not one.month)
    assert f"{whole.live.roc_auc.mean:.3f}" in page
    assert f"{whole.validated.roc_auc.mean:.3f}" in page
    assert f"{whole.estimated.roc_auc.mean:.3f}" in page


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("heart-disease-VERSION.html", "hello", "is no report"),
        ("heart-disease-0123456789ab.html", REPORT, "has no version in its name"),
        ("heart-disease-VERSION.html", None, "cannot be read"),
    ],
)
def test_what_is_no_report_of_a_version_is_refused(
    store: OutcomeStore, bundle: Bundle, tmp_path: Path, name: str, text: str | None, says: str
) -> None:
    path = tmp_path / name.replace("VERSION", bundle.version)
    if text is not None:
        path.write_text(text)
    bring_back(store, bundle, 0.1)
    with pytest.raises(SourceError, match=says):
        live_section.write(path, assessed(store, bundle))
    assert text is None or path.read_text() == text


def test_the_command_shows_the_share_and_the_estimate(
    store: OutcomeStore, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link_bundle(tmp_path, bundle)
    monkeypatch.setenv("HEALTHRISK_HOME", str(tmp_path))
    store.note_served(served_counts(bundle))
    rows = bring_back(store, bundle, 0.5)
    shown = healthrisk("performance", "--table")
    assert shown.returncode == 0, shown.stderr
    assert f"  {rows} outcomes of 303 predictions: 50% have come back" in shown.stdout
    assert re.search(r"  estimated +303 +\d+  0\.\d{3} ", shown.stdout)
    assert BLIND in shown.stdout
