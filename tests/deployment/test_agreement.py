"""A challenger beside the champion compares its answers with the champion's, as the rollout's status says."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment.cluster import Deployed
from healthrisk.deployment.rollout_gates import PrometheusGates
from healthrisk.deployment.rollout_plan import Plan, Rollout
from healthrisk.inference.scorer import risk_levels
from tests.support import http
from tests.support.prometheus import prometheus, wait_for
from tests.support.rollouts import BESIDE, NAME
from tests.support.servers import Pair

pytestmark = pytest.mark.slow


@pytest.fixture
def looking(pairs: dict[str, Pair], tmp_path: Path) -> Iterator[str]:
    """A Prometheus that reads the transformers of both, and says of each which service it is."""
    pages = [
        {"targets": [f"127.0.0.1:{pairs[key].transformer.ports[2]}"], "labels": {"service": service}}
        for key, service in (("first", NAME), ("beside", BESIDE))
    ]
    with prometheus(tmp_path, pages) as url:
        yield url


def test_the_status_of_a_rollout_says_how_far_the_two_lie_apart(
    pairs: dict[str, Pair], bundles: list[Bundle], looking: str, raw_rows: Any, as_tensors: Any, offline: Any
) -> None:
    versions = [Deployed(str(place + 1), "", bundle.digest) for place, bundle in enumerate(bundles)]
    rollout = Rollout(
        champion=versions[0], challenger=versions[1], plan=Plan(), since=datetime.datetime.now(datetime.UTC)
    )
    other = rollout.model_copy(update={"challenger": Deployed("3", "", "d" * 64)})
    rows = raw_rows(bundles[0].path)
    http.post(pairs["beside"].infer_url, json={"inputs": as_tensors(bundles[1], rows)}).raise_for_status()
    wait_for(looking, f'trial_rows_total{{result="compared"}} >= {len(rows)}')
    agreement = PrometheusGates(looking).agreement(NAME, rollout)
    assert agreement is not None
    first, second = (offline(bundle, rows) for bundle in bundles)
    difference = np.abs(first[:, 1] - second[:, 1])
    levels = [np.array(risk_levels(bundles[0].spec, one)) for one in (first, second)]
    assert (agreement.champion, agreement.challenger) == (bundles[0].version, bundles[1].version)
    assert (agreement.compared, agreement.failed, agreement.dropped) == (len(rows), 0, 0)
    assert agreement.largest_difference == pytest.approx(difference.max(), abs=1e-5)
    assert agreement.mean_difference == pytest.approx(difference.mean(), rel=0.35)
    assert agreement.other_risk_level == pytest.approx((levels[0] != levels[1]).mean())
    assert PrometheusGates(looking).agreement(NAME, other) is None
