"""One look at what is served: a real Prometheus, push gateway and registry, and no row of anybody."""

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from healthrisk.bundle import Bundle, store
from healthrisk.inference.scorer import Scorer
from healthrisk.registry import placement
from healthrisk.serving.metrics import Distributions, ServerMetrics
from healthrisk.spec import DatasetSpec
from tests.support import http, sample_bundle
from tests.support.commands import healthrisk
from tests.support.prometheus import wait_for
from tests.support.servers import free_ports

Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]
# A rule that fires at once for whatever is served.
ASKS = {
    "groups": [
        {
            "name": "g",
            "rules": [
                {
                    "alert": "Always",
                    "expr": "group by (model, version) (healthrisk_model_info)",
                    "labels": {"answer": "retrain"},
                }
            ],
        }
    ]
}


@pytest.fixture
def champion(
    bundle_of: Callable[..., Bundle], empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bundle:
    """A bundle that the registry knows as champion."""
    (tmp_path / "home").mkdir()
    shutil.copy(empty_registry, tmp_path / "home")
    monkeypatch.setenv("HEALTHRISK_HOME", str(tmp_path / "home"))
    bundle = bundle_of("heart-disease", "logistic_regression")
    decision = sample_bundle.decision(bundle.spec, "logistic_regression", 0.9)
    placement.register_bundle(
        bundle, store.put(bundle, (tmp_path / "store").as_uri()), decision, "", "nothing to compare"
    )
    return bundle


def test_drift_is_pushed_and_an_alert_asks_for_a_run(
    champion: Bundle, heart: Heart, gateway: str, scraping: Callable[..., AbstractContextManager[str]]
) -> None:
    spec, matrix, _ = heart
    own = CollectorRegistry()
    ServerMetrics(spec.name, champion, own)
    seen = Distributions(spec.name, champion, own)
    older = matrix.copy()
    older[:, spec.features.index("age")] += 12
    with scraping(own, ASKS) as prometheus:
        where = ("--prometheus", prometheus, "--push", gateway, "--window", "10m")
        wait_for(prometheus, "healthrisk_model_info")
        quiet = healthrisk("watch", *where)
        assert json.loads(quiet.stdout) == {"drift": {spec.name: "no traffic within 10m"}, "retraining": {}}
        seen.add(older, Scorer(champion).probabilities(older))
        wait_for(prometheus, f'feature_values_count{{feature="age"}} >= {len(matrix)}')
        done = healthrisk("watch", *where)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["drift"][spec.name].startswith("strong: ")
        families = {one.name: one for one in text_string_to_metric_families(http.get(f"{gateway}/metrics").text)}
        (drifting,) = families["healthrisk_drift_features"].samples
        assert drifting.labels["model"] == spec.name
        assert drifting.labels["version"] == champion.version
        assert drifting.value >= 1
        wait_for(prometheus, 'ALERTS{alertstate="firing"}')
        (nobody,) = free_ports(1)
        asked = healthrisk("watch", *where, "--retrain", f"http://127.0.0.1:{nobody}")
    assert asked.returncode == 1
    assert f"http://127.0.0.1:{nobody} does not answer as Kubeflow Pipelines does" in asked.stderr
    assert asked.stderr.count("\n") == 1


def test_a_silent_prometheus_is_one_line(champion: Bundle, gateway: str) -> None:
    (nobody,) = free_ports(1)
    done = healthrisk("watch", "--prometheus", f"http://127.0.0.1:{nobody}", "--push", gateway)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"http://127.0.0.1:{nobody} does not answer as a Prometheus does" in done.stderr
    assert done.stderr.count("\n") == 1
