"""From an evaluated winner to a registered version: runs logged, gates checked, bundle stored, alias given."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthrisk.atomic import scratch_folder
from healthrisk.bundle import store
from healthrisk.bundle.manifest import DataOrigin
from healthrisk.config import settings
from healthrisk.data.ingest import IngestRecord
from healthrisk.errors import GateError
from healthrisk.records import actions
from healthrisk.registry import build, placement, tracking, versions
from healthrisk.registry.provenance import git_revision
from healthrisk.registry.registration import Registration
from healthrisk.spec import DatasetSpec, Verdict
from healthrisk.training import sampling
from healthrisk.training.decision import Decision
from healthrisk.training.sampling import Part
from healthrisk.training.split import read_split
from healthrisk.training.train import Trained


def prepare_step() -> None:
    """Do what registering takes and no winner changes: a first run makes MLflow's tables, which takes a second."""
    versions.client()
    tracking.prepare()


def register_winner(
    spec: DatasetSpec,
    *,
    parts: list[Path],
    record: IngestRecord,
    decision: Decision,
    page: str,
    plots: Path,
    models: list[Path],
    by_rollout: bool = False,
) -> Registration:
    """Log every model; build, store and register the winner.

    `plots` holds a folder of pictures for each family. With `by_rollout` the winner takes no champion's place yet.

    Raises:
        GateError: the winner fails a gate that nobody overrides; its run is logged, nothing is registered.
        StoreError: an override cannot be put on record; nothing is registered.
        BundleError: the serving form disagrees with scikit-learn.
        SignatureError: the champion is not signed by whom one believes here; nothing is registered.
    """
    # Not where it came from: the same bytes under another name are the same data, and make the same bundle.
    data = DataOrigin(sha256=record.sha256, rows=record.rows)
    trained = [Trained.load(folder) for folder in models]
    runs = tracking.log_runs(spec, trained, decision, page, plots, data, git_revision())
    _check_gates(decision)
    folder, model = next(pair for pair in zip(models, trained, strict=True) if pair[1].family == decision.winner)
    train, test = (read_split(spec, part) for part in parts)
    judged, unseen = _judge(spec, model, train, test, decision.seed)
    with scratch_folder(settings().home / "building") as building:
        built = build.build_bundle(spec, building, folder, [train[0], test[0]], judged, decision, data)
        if override := decision.override:
            # An override that is not on record is none.
            said = f"{override.statement}; {'; '.join(override.gates)}"
            actions.note("gate-overridden", spec.name, digest=built.digest, reason=said)
        uri = store.put(built, settings().bundles)
    compared = placement.compare_with_champion(spec, judged, unseen)
    run = runs[decision.winner]
    version, standing = placement.register_bundle(built, uri, decision, run, compared, by_rollout=by_rollout)
    _tell(spec.name, version, standing, decision)
    return _registration(spec.name, uri, version, standing)


def _judge(spec: DatasetSpec, model: Trained, train: Part, test: Part, seed: int) -> tuple[Part, NDArray[np.float64]]:
    """Return the rows that the winner is judged on, those of training first, and its probabilities of them unseen."""
    fitted, held_out = sampling.take(train, model.judged), sampling.take(test, sampling.judged(spec, test[1], seed))
    judged = np.vstack([fitted[0], held_out[0]]), np.concatenate([fitted[1], held_out[1]])
    return judged, np.vstack([model.out_of_fold, model.probabilities(spec, held_out[0])])


def _registration(name: str, uri: str, version: versions.Registered, standing: placement.Standing) -> Registration:
    return Registration(
        name=name,
        version=version.number,
        alias=standing.alias,
        reason=standing.reason,
        bundle=uri,
        digest=version.digest,
        run=version.run_id,
        awaits_rollout=standing.awaits_rollout,
    )


def _tell(name: str, version: versions.Registered, standing: placement.Standing, decision: Decision) -> None:
    """Put the version on record, and its promotion where it is one."""
    overridden = f"; gates {decision.override.statement}" if decision.override else ""
    actions.tell("registered", name, version.number, version.digest, standing.reason + overridden)
    if standing.alias == versions.CHAMPION and standing.reason != placement.ALREADY:
        actions.tell("promoted", name, version.number, version.digest, standing.reason)


def _check_gates(decision: Decision) -> None:
    if not decision.may_register:
        failed = "; ".join(gate.summary for gate in decision.gates if gate.verdict is Verdict.FAILED)
        raise GateError(f"{decision.winner} fails its gates: {failed}; nothing was registered")
