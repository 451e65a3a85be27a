"""Validation outside: how the model does on patients of other sites, from the spec's `external` sources.

What is local is used, and what is not is named with the reason: a site that is silently left out is a site that
failed. A column that a site never recorded is imputed, so an ablated model that does without it stands beside the full
one. Recalibration in the large shifts all log-odds until as many events are expected as happened there.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthrisk.data import encoding, sources, tables
from healthrisk.errors import SourceError, ValidationError
from healthrisk.evidence import calibration, cohort, event
from healthrisk.evidence.documents import MissingSite, Recalibrated, Site, SiteFigures
from healthrisk.spec import DatasetSpec, Family, Gate, GateResult, Source, Verdict
from healthrisk.spec.metric import ROC_AUC
from healthrisk.training import bootstrap, estimators, metrics
from healthrisk.training.grouping import Groups
from healthrisk.training.intervals import proportion
from healthrisk.training.record import Parameters
from healthrisk.training.sampling import Part

# An encoded matrix [rows, features of the full spec] to probabilities [rows, classes].
Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]
# What the model is called that a left-out site is judged by.
LEFT_OUT = "made on the others"


def sites(
    spec: DatasetSpec, models: Mapping[str, Score], seed: int, *, download: bool
) -> tuple[Site | MissingSite, ...]:
    """Return each external source's figures, or why there are none."""
    return tuple(_site(spec, source, models, seed, download=download) for source in spec.external)


def _site(
    spec: DatasetSpec, source: Source, models: Mapping[str, Score], seed: int, *, download: bool
) -> Site | MissingSite:
    about = {"name": source.name, "label": source.label or source.name, "uri": source.uri}
    if not download and not sources.is_local(source):
        missing = "not on this machine: put it into HEALTHRISK_DATA, or run with EVIDENCE=full"
        return MissingSite(**about, missing=missing)
    try:
        matrix, y = _read(spec, source.name)
    except (SourceError, ValidationError) as error:
        return MissingSite(**about, missing=str(error))
    unrecorded = [name for name, share in zip(spec.features, np.isnan(matrix).mean(axis=0), strict=True) if share > 0.5]
    return Site(
        **about,
        sha256=source.sha256,
        rows=len(y),
        events=int(event.binarize(spec, y, np.eye(len(spec.target.classes))[y]).happened.sum()),
        unrecorded=tuple(unrecorded),
        models={name: measure(spec, y, score(matrix), seed) for name, score in models.items()},
        participants=cohort.figures(spec, matrix),
    )


def left_out(
    spec: DatasetSpec,
    family: Family,
    parameters: Parameters,
    rows: Part,
    places: NDArray[np.object_] | None,
    seed: int,
    groups: Groups | None = None,
) -> tuple[Site, ...]:
    """Return a record of each site of the table itself: how a model made on all others does there.

    `places` says where each row is from; without it, or with one site alone, there is nothing to leave out.
    """
    if places is None or len(names := sorted(set(places.tolist()))) < 2:
        return ()
    matrix, y = rows
    sites_left_out = []
    for name in names:
        here = places == name
        model = estimators.make_model(spec, family, seed, parameters)
        with estimators.parallel(family, matrix, alone=True):
            together = None if groups is None else groups[~here]
            p = model.fit(matrix[~here], y[~here], together).predict_proba(matrix[here])
        site = Site(
            name=name,
            label=f"{name}, left out of training",
            rows=int(here.sum()),
            events=int(event.binarize(spec, y[here], p).happened.sum()),
            unrecorded=(),
            models={LEFT_OUT: measure(spec, y[here], p, seed)},
            participants=cohort.figures(spec, matrix[here]),
        )
        sites_left_out.append(site)
    return tuple(sites_left_out)


def judge(spec: DatasetSpec, gate: Gate, sites: Sequence[Site]) -> GateResult:
    """Hold the left-out site at which ranks are worst against a gate; sites with too few cases are not judged."""
    least = spec.evidence.min_cases
    enough = [site for site in sites if min(site.events, site.rows - site.events) >= least]
    areas = {site.name: area for site in enough if (area := site.models[LEFT_OUT].roc_auc)}
    if len(areas) < 2:
        reason = f"fewer than two sites have {least} cases"
        return GateResult(gate=gate, value=None, verdict=Verdict.INCONCLUSIVE, reason=reason)
    worst = min(areas, key=lambda name: areas[name].mean)
    area = areas[worst]
    verdict = gate.judge_interval(area.low, area.high)
    return GateResult(gate=gate, value=area.mean, low=area.low, high=area.high, verdict=verdict, reason=worst)


def measure(spec: DatasetSpec, y: NDArray[np.int64], p: NDArray[np.float64], seed: int) -> SiteFigures:
    """Return discrimination, calibration, and the Brier score before and after recalibration in the large."""
    judged = event.binarize(spec, y, p)
    area = recalibrated = None
    if 0 < judged.happened.sum() < len(y):
        area = bootstrap.estimate(ROC_AUC, judged.labels, judged.both, seed)
        shift = calibration.intercept_in_the_large(judged)
        better = calibration.recalibrate(judged, shift)
        recalibrated = Recalibrated(
            shift=shift,
            accuracy=proportion(int((better.predicted == better.happened).sum()), len(y)),
            brier=metrics.brier(better.labels, better.both),
        )
    return SiteFigures(
        accuracy=proportion(int((p.argmax(axis=1) == y).sum()), len(y)),
        roc_auc=area,
        brier=metrics.brier(judged.labels, judged.both),
        calibration=calibration.measure(judged),
        recalibrated=recalibrated,
    )


def _read(spec: DatasetSpec, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a source's encoded matrix and class positions.

    Raises:
        SourceError: it cannot be had or read.
        ValidationError: a value breaks the spec, or the table is in another encoding. Missing values are no fault here.
    """
    # Only for a site that is local: the validation library alone takes a tenth of a second.
    from healthrisk.data.ingest import ingest
    from healthrisk.data.validate import validate

    with tempfile.TemporaryDirectory(prefix="healthrisk-external-") as scratch:
        path = Path(scratch) / "table.parquet"
        ingest(spec, name, path)
        faults = [
            check.message
            for check in validate(spec, path).checks
            if check.status == "fail" and check.name in {"values", "encoding"}
        ]
        if faults:
            raise ValidationError(faults[0])
        table = tables.read_columns(path)
    return encoding.encode(spec, table), encoding.encode_target(spec, table)
