"""What a run with --rollout says where nothing shares requests between versions, and what `serve.py` then says."""

from collections.abc import Callable
from pathlib import Path

from healthrisk.bundle import Bundle
from healthrisk.deployment import local
from healthrisk.registry.registration import Registration
from pipelines import summary


def test_who_awaits_a_rollout_on_one_machine_is_told_how_to_go_on(make_bundle: Callable[..., Path]) -> None:
    bundle = Bundle.open(make_bundle())
    what = {"version": "2", "alias": "challenger", "reason": "better", "digest": bundle.digest, "run": ""}
    awaiting = Registration(name=bundle.spec.name, bundle="file:///b", awaits_rollout=True, **what)
    (line,) = summary.awaiting(awaiting)
    assert "kserve/serve.py --dataset heart-disease --challenger file:///b" in line
    assert line.endswith("; the same run without --rollout then makes it the champion")
    assert summary.awaiting(awaiting.model_copy(update={"awaits_rollout": False})) == []
    said = local.describe(bundle, local.Address("127.0.0.1", 8080), challenger=bundle)
    trial = f"  trial        of {bundle.version}: python -m healthrisk rollout status http://127.0.0.1:8084/metrics"
    assert trial in said.splitlines()
    assert "trial" not in local.describe(bundle, local.Address("127.0.0.1", 8080))
