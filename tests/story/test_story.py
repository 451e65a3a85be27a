"""The story in small: real servers, a real Envoy and Prometheus; two models fitted in a moment instead of pipelines.

It takes two minutes of the processor, and so runs where it is asked for: STORY=1 pytest tests/story.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.data import encoding
from healthrisk.deployment.cluster import Deployed
from healthrisk.registry import placement
from tests.story import page, site
from tests.story.course import Course, Scale, Story
from tests.story.world import World
from tests.support import sample_bundle
from tests.support.outcomes import KEY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("STORY"), reason="takes two minutes of the processor: STORY=1 asks for it"),
]

FAMILY = "logistic_regression"


@pytest.fixture(scope="module")
def story(make_bundle: Callable[..., Path], empty_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The story of 120 patients a week."""
    home = tmp_path_factory.mktemp("story")
    world = World(seed=1)

    def train(table: Path | None) -> Deployed:
        path = make_bundle(family=FAMILY)
        if table:
            read = pa.csv.read_csv(table, convert_options=pa.csv.ConvertOptions(null_values=[""]))
            rows = encoding.encode(world.spec, read), encoding.encode_target(world.spec, read)
            path = sample_bundle.fit(world.spec, FAMILY, home / "fitted", *rows, seed=1)
        bundle = Bundle.open(path)
        uri = store.put(bundle, settings().bundles)
        decision = sample_bundle.decision(world.spec, FAMILY, 0.8)
        version, standing = placement.register_bundle(bundle, uri, decision, "", "nothing to compare", by_rollout=True)
        assert standing.awaits_rollout == bool(table)
        return Deployed(version.number, version.uri, version.digest)

    with pytest.MonkeyPatch.context() as patched, site.opened(home) as opened:
        patched.setenv("HEALTHRISK_HOME", str(home))
        patched.setenv("HEALTHRISK_RECEIPT_KEY", KEY)
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        shutil.copy(empty_registry, home)
        scale = Scale(patients=120, good=2, worse=20, after=1, weights=(0, 50, 100))
        return Course(opened, world, scale, print).live(train, home)


def mean(story: Story, version: str, first: int, last: int) -> float:
    """Return the mean area of a version in weeks, which count from 1."""
    return float(np.mean([week.area[version].mean for week in story.weeks[first - 1 : last]]))


def week_of(story: Story, event: str) -> int:
    """Return after how many weeks something happened."""
    return next(week for week, what in story.events if what == event)


def test_the_alarm_is_raised_in_the_worse_world_and_not_before(story: Story) -> None:
    assert [week.raised for week in story.weeks[:2]] == [False, False]
    assert week_of(story, "the world changes") == 2 < week_of(story, "the alarm is raised")
    assert story.alert == "LivePerformanceFell"
    assert mean(story, "1", 1, 2) - mean(story, "1", 3, week_of(story, "the alarm is raised")) > 0.08


def test_the_next_version_comes_in_and_its_area_is_back(story: Story) -> None:
    assert [what for _, what in story.events] == [
        "the world changes",
        "the alarm is raised",
        "retrained",
        "tried in silence",
        "mirrored",
        "50 %",
        "100 %",
        "promoted",
    ]
    stages = ("mirrored", "50 %", "100 %", "promoted")
    mirrored, half, whole, after = (story.weeks[week_of(story, stage)].answers for stage in stages)
    assert (mirrored, whole, after) == ({"1": 120}, {"2": 120}, {"2": 120})
    assert set(half) == {"1", "2"}
    assert half["1"] + half["2"] == 120
    fallen = mean(story, "1", 3, week_of(story, "the alarm is raised"))
    assert mean(story, "2", len(story.weeks) - 1, len(story.weeks)) > fallen + 0.05
    assert story.champion == "2"


def test_the_silent_trial_compared_every_row(story: Story) -> None:
    assert story.trial is not None
    assert (story.trial.compared, story.trial.failed, story.trial.dropped) == (120, 0, 0)
    assert story.trial.largest_difference > 0.2


def test_versions_are_compared_by_the_patients_of_the_same_time(story: Story) -> None:
    (difference,) = story.differences
    assert {difference.version, difference.other} == set(story.numbers)


def test_the_page_shows_it(story: Story, tmp_path: Path) -> None:
    page.write(story, tmp_path)
    text = (tmp_path / "story.html").read_text()
    for what in ("the alarm is raised", "promoted", "50 %"):
        assert what in text
    assert (tmp_path / "story.png").stat().st_size > 10_000
