"""The story of a model's life on a real cluster: its gateway, Prometheus, database and service of outcomes.

STORY=FOLDER keeps what happened there, as a page and a picture.
"""

import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from healthrisk.deployment.cluster import Cluster, Deployed, challenger_name
from healthrisk.registry.registration import Registration
from tests.story import page
from tests.story.course import Course, Scale, Story
from tests.story.quick_training import train
from tests.story.site import wait_until_read
from tests.story.world import World
from tests.support import http
from tests.support.gateway import HOST, connect
from tests.support.patience import ANSWER

NAME = "e2e-story"
WHERE = "a real cluster with its gateway, Prometheus and database"
DEPLOY = """
from healthrisk.deployment.deploy import deploy
from healthrisk.registry.registration import Registration
print(deploy(Registration.model_validate_json({registration!r}), "healthrisk"))
"""
Kubectl = Callable[..., str]
Forward = Callable[..., str]


@dataclass
class OnCluster:
    """The cluster, as those see it who ask, return outcomes and look."""

    cluster: Cluster
    forward: Forward
    in_cluster: Callable[..., tuple[str, str]]
    gateway: str
    trusted: Path
    prometheus: str
    outcomes_url: str
    database: str

    @property
    def headers(self) -> dict[str, str]:
        """Who a request is for."""
        return {"host": HOST}

    def connect(self) -> HTTPConnection:
        """Return a connection to the gateway."""
        return connect(self.gateway, self.trusted)

    def serve_champion(self, version: Deployed) -> None:
        """Serve a version by the deploy step's own code, in a pod of the pipeline's."""
        self._deploy(version, "champion")
        self.cluster.wait_routed(NAME, ANSWER)

    def serve_challenger(self, version: Deployed) -> None:
        """Serve a version beside the champion by the deploy step's own code, in a pod of the pipeline's."""
        self._deploy(version, "challenger")

    def _deploy(self, version: Deployed, alias: str) -> None:
        what = {"version": version.number, "bundle": version.bundle, "digest": version.digest, "alias": alias}
        registration = Registration(name=NAME, reason="the story", run="", **what).to_json()
        phase, printed = self.in_cluster("e2e-story", DEPLOY.format(registration=registration))
        assert phase == "Succeeded", printed

    def champion_url(self) -> str:
        """Return a way to the champion's transformer."""
        return f"http://{self.forward(f'{NAME}-transformer', 80)}"

    def wait_until_counted(self, service: str) -> None:
        """Wait until Prometheus has read all that the one pod of a service's transformer has counted."""
        page = http.get(f"http://{self.forward(f'{service}-transformer', 8082, kind='deployment')}/metrics").text
        wait_until_read(self.prometheus, service, page)


@pytest.fixture
def site(
    kubectl: Kubectl,
    platform: None,
    cluster: Cluster,
    forward: Forward,
    in_cluster: Callable[..., tuple[str, str]],
    gateway: str,
    trusted: Path,
) -> Iterator[OnCluster]:
    """The platform, on which nothing is served under the story's name, before it and after it."""
    where = ("--namespace", "healthrisk", "get", "secret", "postgres", "--output=json")
    password = base64.b64decode(json.loads(kubectl(*where))["data"]["password"]).decode()
    for name in (challenger_name(NAME), NAME):
        cluster.delete(name)
    yield OnCluster(
        cluster=cluster,
        forward=forward,
        in_cluster=in_cluster,
        gateway=gateway,
        trusted=trusted,
        prometheus=f"http://{forward('prometheus', 9090)}",
        outcomes_url=f"http://{forward('outcomes', 80)}/v1/outcomes",
        database=f"postgresql+psycopg2://mlflow:{password}@{forward('postgres', 5432)}/mlflow",
    )
    for name in (challenger_name(NAME), NAME):
        cluster.delete(name)


def test_a_models_life(site: OnCluster, tmp_path: Path) -> None:
    world = World(seed=1, name=NAME)
    scale = Scale(patients=200, good=2, worse=20, after=2, weights=(0, 50, 100))
    story = Course(site, world, scale, print).live(lambda table: train(world, table, tmp_path), tmp_path)
    page.write(story, Path(os.environ.get("STORY", tmp_path)), WHERE)
    first, second = story.validated
    done = dict(reversed([(what, week) for week, what in story.events]))
    assert list(dict.fromkeys(what for _, what in story.events)) == [
        "the world changes",
        "the alarm is raised",
        "retrained",
        "tried in silence",
        "50 %",
        "100 %",
        "promoted",
    ]
    assert story.alert == "LivePerformanceFell"
    assert not any(week.raised for week in story.weeks[:2])
    assert story.trial is not None
    assert (story.trial.failed, story.trial.dropped) == (0, 0)
    assert set(story.weeks[done["50 %"]].answers) == {first, second}
    assert story.champion == second
    assert mean(story, first, 0, 2) - mean(story, first, 2, done["the alarm is raised"]) > 0.05
    assert mean(story, second, -2, None) > mean(story, first, 2, done["the alarm is raised"]) + 0.05


def mean(story: Story, version: str, first: int, last: int | None) -> float:
    """Return the mean area of a version in a slice of weeks."""
    return float(np.mean([week.area[version].mean for week in story.weeks[first:last]]))
