"""The course of the story: week after week, and what people and machines do in between."""

import csv
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from healthrisk.bundle import Bundle
from healthrisk.data import encoding
from healthrisk.deployment import rollout
from healthrisk.deployment.cluster import Deployed, challenger_name
from healthrisk.deployment.rollout import Patience
from healthrisk.deployment.rollout_gates import PrometheusGates
from healthrisk.deployment.rollout_plan import Plan, Rollout
from healthrisk.deployment.rollout_status import PROMOTE, RolloutStatus
from healthrisk.monitoring.figures import area
from healthrisk.monitoring.outcome_store import Cell, OutcomeStore
from healthrisk.monitoring.performance import assess, validated_bins
from healthrisk.monitoring.trial_status import TrialStatus
from healthrisk.monitoring.version_comparison import Difference
from healthrisk.receipts.probability_bins import BINS, EVENT
from healthrisk.registry import versions
from healthrisk.training.intervals import Estimate
from tests.story.site import STICKY, Answered, Site, ask, bring_back, fetch, let_a_week_pass
from tests.story.world import World
from tests.support.patience import ANSWER, until
from tests.support.prometheus import wait_for

WEEK = timedelta(days=7)
PATIENCE = Patience(ready=ANSWER, grace=ANSWER, routed=ANSWER, settled=0)
# Of ten patients so many are heard of again.
_RETURNED = 0.9
_LOOK_SECONDS, _LOOKS = 0.5, 12
# Weeks from the alarm on whose patients the next version learns from.
_RETRAINED_ON = 3
# Trains on a table, or where there is none on the shipped one; the first version is champion, the next its challenger.
Train = Callable[[Path | None], Deployed]


@dataclass(frozen=True)
class Scale:
    """How long the story is: patients a week, weeks of the good world, the most until the alarm, and of the end."""

    patients: int
    good: int
    worse: int
    after: int
    weights: tuple[int, ...] = (0, 10, 50, 100)


@dataclass(frozen=True)
class Week:
    """What a week was like: answers and area under the ROC curve by version, the alarm's evidence by version."""

    monday: date
    changed: bool
    answers: dict[str, int]
    area: dict[str, Estimate]
    evidence: dict[str, float]
    raised: bool


@dataclass
class Story:
    """What happened: the weeks, and in which of them (by their number) what was done."""

    weeks: list[Week] = field(default_factory=list)
    events: list[tuple[int, str]] = field(default_factory=list)
    numbers: dict[str, str] = field(default_factory=dict)
    validated: dict[str, float] = field(default_factory=dict)
    alert: str = ""
    champion: str = ""
    trial: TrialStatus | None = None
    differences: tuple[Difference, ...] = ()


class Course:
    """Lives through the story on a site; tells of each week and each event in a line."""

    def __init__(self, site: Site, world: World, scale: Scale, tell: Callable[[str], object]) -> None:
        self._site, self._world, self._scale, self._tell = site, world, scale, tell
        self._model = world.spec.name
        self._counts, self._database = OutcomeStore(site.database), sa.create_engine(site.database)
        self._record: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
        # Days of the story lie far enough back that none is in the future, and before all that is counted today.
        self._today = datetime.now(UTC).date() - timedelta(days=1)
        self._first = self._today - 60 * WEEK
        self._bundles: dict[str, Bundle] = {}
        self.story = Story()

    def live(self, train: Train, folder: Path) -> Story:
        """Live through all of it; tables to train on are written into a folder."""
        champion = train(None)
        self._know(champion)
        self._site.serve_champion(champion)
        for _ in range(self._scale.good):
            self._week()
        self._world.changed = True
        self._event("the world changes")
        self._until_the_alarm(champion)
        # Until there are enough to learn from.
        for _ in range(_RETRAINED_ON - 1):
            self._week()
        challenger = train(self._table(folder))
        self._know(challenger)
        self._event("retrained")
        self._bring_in(challenger)
        for _ in range(self._scale.after):
            self._week()
        self._counts.close()
        self._database.dispose()
        return self.story

    def _until_the_alarm(self, champion: Deployed) -> None:
        for _ in range(self._scale.worse):
            self._week()
            if self.story.weeks[-1].raised:
                break
        firing = f'ALERTS{{alertname="LivePerformanceFell", alertstate="firing", version="{champion.digest[:12]}"}}'
        assert self.story.weeks[-1].raised, f"no alarm after {self._scale.worse} weeks of the other world"
        (alert,) = wait_for(self._site.prometheus, firing)
        self.story.alert = alert.metric["alertname"]
        self._event("the alarm is raised")

    def _bring_in(self, challenger: Deployed) -> None:
        """Serve a version beside the champion, mirror requests to it, give it its weights, and promote it."""
        cluster, model = self._site.cluster, self._model
        self._site.serve_challenger(challenger)
        # A share of slow answers says more of the machine than of the version.
        plan = Plan(weights=self._scale.weights, sticky=STICKY, hold_seconds=0, requests=5, slow=1)
        status = rollout.start(cluster, model, challenger.number, plan, PATIENCE)
        while status.next != PROMOTE:
            cluster.wait_routed(model, ANSWER)
            before, weeks = status.rollout, len(self.story.weeks)
            self._event(f"{before.weight} %" if before.weight else "tried in silence")
            status = self._moved(before)
            if not before.weight:
                # It compares what it was asked when it was deployed, too.
                proof = len(self._bundles[challenger.digest].golden.rows)
                rows = proof + self._scale.patients * (len(self.story.weeks) - weeks)
                self.story.trial = until(partial(self._agreement, before, rows))
        self._promote()
        cluster.wait_routed(model, ANSWER)
        assert cluster.deployed(challenger_name(model)) is None, "the challenger is still there"
        champion = versions.champion(model)
        self.story.champion = champion.number if champion else ""
        self._event("promoted")

    def _agreement(self, tried: Rollout, rows: int) -> TrialStatus | None:
        """Return how a silent trial went once all its rows were compared, which is done behind the answers."""
        status = PrometheusGates(self._site.prometheus).agreement(self._model, tried)
        return status if status and status.compared + status.failed + status.dropped >= rows else None

    def _promote(self) -> None:
        """Promote; where the moment's gates want more patients than a busy machine's week has shown them, next week."""
        cluster, gates = self._site.cluster, PrometheusGates(self._site.prometheus)
        for _ in range(self._scale.worse):
            with suppress(rollout.RolloutError):
                rollout.promote(cluster, self._model, gates, self._site.champion_url(), PATIENCE)
                return
            self._week()
        raise AssertionError(f"not promoted for {self._scale.worse} weeks")

    def _moved(self, before: Rollout) -> RolloutStatus:
        """Let weeks pass until the rollout moves on: where chance may have made what its gates see, they want more."""
        for _ in range(self._scale.worse):
            self._week()
            self._site.wait_until_counted(challenger_name(self._model))
            for _ in range(_LOOKS):
                if moved := self._step(before):
                    return moved
                time.sleep(_LOOK_SECONDS)
        raise AssertionError(f"held at {before.weight} % for {self._scale.worse} weeks")

    def _step(self, before: Rollout) -> RolloutStatus | None:
        """Step once; return where the rollout stands if it has moved, or may be promoted."""
        gates = PrometheusGates(self._site.prometheus)
        status = rollout.step(self._site.cluster, self._model, gates, PATIENCE)
        assert status.rollout.phase == "weighing", status.next
        return status if status.next == PROMOTE or status.rollout.weight != before.weight else None

    def _week(self) -> None:
        """Let patients come, be answered, and most of their outcomes return; then look."""
        patients = self._world.patients(self._scale.patients)
        places = self._world.outcomes(patients)
        answered = self._ask(patients)
        heard_of = self._world.some(len(patients), _RETURNED)
        classes = self._world.spec.target.classes
        outcomes = [classes[place].raw[-1] for place in places[heard_of].tolist()]
        bring_back(self._site.outcomes_url, np.array(answered.receipts)[heard_of].tolist(), outcomes)
        self._record.append((patients, places))
        monday = self._first + len(self.story.weeks) * WEEK
        let_a_week_pass(self._database, self._model, self._today, monday)
        counts = self._counts.counts(self._model)
        performance = assess(counts, {}, lambda _, digest: self._bundles[digest])
        number = self.story.numbers
        alarms = {number[one.version]: one.alarm for one in performance.versions if one.alarm}
        week = Week(
            monday=monday,
            changed=self._world.changed,
            answers={number[name]: answered.versions.count(name) for name in sorted(set(answered.versions))},
            area=self._areas({cell: count for cell, count in counts.items() if cell.arrived == monday}),
            evidence={name: state.evidence for name, state in alarms.items()},
            raised=any(state.raised for state in alarms.values()),
        )
        self.story.weeks.append(week)
        self.story.differences = performance.differences or self.story.differences
        self._tell(_line(len(self.story.weeks), week))

    def _ask(self, patients: NDArray[np.float64]) -> Answered:
        with closing(self._site.connect()) as connection:
            return ask(connection, self._site.headers, self._model, patients)

    def _areas(self, counts: dict[Cell, int]) -> dict[str, Estimate]:
        """Return the area of each version by these outcomes, where both kinds occur."""
        areas = {}
        for digest, bundle in self._bundles.items():
            tally = np.zeros((2, BINS))
            for cell, count in counts.items():
                if cell.digest == digest and cell.label == EVENT and not cell.grouping:
                    tally[int(cell.happened), cell.bin] += count
            if tally.sum(axis=1).all():
                bins = validated_bins(bundle, EVENT)["", ""].of(tally[1], tally[0])
                areas[self.story.numbers[bundle.version]] = area(bins)
        return areas

    def _table(self, folder: Path) -> Path:
        """Write the newest patients with their outcomes, as a hospital has them, and return the file."""
        spec, path = self._world.spec, folder / "newest.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*spec.features, spec.target.name])
            for patients, places in self._record[-_RETRAINED_ON:]:
                for row, place in zip(encoding.decode(spec, patients), places.tolist(), strict=True):
                    values = [f"{value:g}" if isinstance(value, float) else value for value in row]
                    writer.writerow([*values, spec.target.classes[place].raw[-1]])
        return path

    def _know(self, version: Deployed) -> None:
        bundle = self._bundles[version.digest] = fetch(version)
        self.story.numbers[bundle.version] = version.number
        self.story.validated[version.number] = area(validated_bins(bundle, EVENT)["", ""]).mean

    def _event(self, what: str) -> None:
        self.story.events.append((len(self.story.weeks), what))
        self._tell(what)


def _line(number: int, week: Week) -> str:
    parts = [
        f"version {name} answered {count}"
        + (f", AUC {one.mean:.2f} ({one.low:.2f} to {one.high:.2f})" if (one := week.area.get(name)) else "")
        + (f", evidence {week.evidence[name]:.3g}" if name in week.evidence else "")
        for name, count in week.answers.items()
    ]
    return f"week {number:2}  " + "; ".join(parts)
