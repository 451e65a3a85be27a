"""The story in small: real servers, a real Envoy and Prometheus; two models fitted in a moment instead of pipelines.

It takes two minutes of the processor, and so runs where it is asked for: STORY=1 pytest tests/story.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from healthrisk.registry.build import GOLDEN_ROWS
from tests.story import one_machine, page
from tests.story.course import Course, Scale, Story
from tests.story.quick_training import train
from tests.story.world import World
from tests.support.outcomes import KEY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("STORY"), reason="takes two minutes of the processor: STORY=1 asks for it"),
]


@pytest.fixture(scope="module")
def story(empty_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The story of 120 patients a week."""
    home = tmp_path_factory.mktemp("story")
    world = World(seed=1)
    with pytest.MonkeyPatch.context() as patched, one_machine.opened(home) as opened:
        patched.setenv("HEALTHRISK_HOME", str(home))
        patched.setenv("HEALTHRISK_RECEIPT_KEY", KEY)
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        shutil.copy(empty_registry, home)
        scale = Scale(patients=120, good=2, worse=20, after=1, weights=(0, 50, 100))
        return Course(opened, world, scale, print).live(lambda table: train(world, table, home / "fitted"), home)


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
        "50 %",
        "100 %",
        "promoted",
    ]
    stages = ("tried in silence", "50 %", "100 %", "promoted")
    mirrored, half, whole, after = (story.weeks[week_of(story, stage)].answers for stage in stages)
    assert (mirrored, whole, after) == ({"1": 120}, {"2": 120}, {"2": 120})
    assert set(half) == {"1", "2"}
    assert half["1"] + half["2"] == 120
    fallen = mean(story, "1", 3, week_of(story, "the alarm is raised"))
    assert mean(story, "2", len(story.weeks) - 1, len(story.weeks)) > fallen + 0.05
    assert story.champion == "2"


def test_the_silent_trial_compared_every_row(story: Story) -> None:
    assert story.trial is not None
    # Beside the patients, the rows by which it was proven when it was deployed.
    assert (story.trial.compared % 120, story.trial.failed, story.trial.dropped) == (GOLDEN_ROWS, 0, 0)
    assert story.trial.largest_difference > 0.2


def test_versions_are_compared_by_the_patients_of_the_same_time(story: Story) -> None:
    (difference,) = story.differences
    assert {difference.version, difference.other} == set(story.numbers)


def test_the_page_shows_it(story: Story, tmp_path: Path) -> None:
    page.write(story, tmp_path, one_machine.WHERE)
    text = (tmp_path / "story.html").read_text()
    for what in ("the alarm is raised", "promoted", "50 %"):
        assert what in text
    assert (tmp_path / "story.png").stat().st_size > 10_000
