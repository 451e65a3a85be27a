"""What it is worth to act at the thresholds of the risk levels: predictive values and net benefit with intervals."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from healthrisk.evidence.clinical_documents import OperatingPoint
from healthrisk.spec import DatasetSpec
from healthrisk.training.intervals import Estimate, proportion, wald

Flags = NDArray[np.bool_]


def points(spec: DatasetSpec, y: NDArray[np.int64], p: NDArray[np.float64]) -> tuple[OperatingPoint, ...]:
    """Return a point for each level but the lowest, for class positions [rows] and probabilities [rows, classes]."""
    return tuple(
        _point(spec, level, threshold, places, y, p[:, places].sum(axis=1))
        for level, threshold, places in _thresholds(spec)
    )


def _thresholds(spec: DatasetSpec) -> Iterator[tuple[str, float, list[int]]]:
    """Yield each level above the lowest: its name, where it begins, and the classes that are meant."""
    if spec.is_binary:
        for before, level in zip(spec.risk_levels, spec.risk_levels[1:], strict=False):
            yield level.name, before.below or 0.5, [1]
        return
    values = [cls.value for cls in spec.target.classes]
    for level in spec.risk_levels[1:]:
        yield level.name, level.at_least or 0.5, [values.index(value) for value in level.any_of]


def _point(
    spec: DatasetSpec,
    level: str,
    threshold: float,
    places: list[int],
    y: NDArray[np.int64],
    probability: NDArray[np.float64],
) -> OperatingPoint:
    happened, acted = np.isin(y, places), probability >= threshold
    worth = np.where(happened, 1.0, -threshold / (1 - threshold)) if threshold < 1 else happened.astype(float)
    everybody = bool(worth.sum() > 0)
    return OperatingPoint(
        level=level,
        event=" or ".join(spec.target.classes[place].name for place in places),
        threshold=threshold,
        rows=len(y),
        acted=int(acted.sum()),
        sensitivity=_share(acted, happened),
        specificity=_share(~acted, ~happened),
        ppv=_share(happened, acted),
        npv=_share(~happened, ~acted),
        net_benefit=_mean(worth * acted),
        gain=_mean(worth * (acted.astype(float) - everybody)),
        beside="everybody" if everybody else "nobody",
    )


def _share(hits: Flags, among: Flags) -> Estimate | None:
    return proportion(int((hits & among).sum()), int(among.sum())) if among.any() else None


def _mean(values: NDArray[np.float64]) -> Estimate:
    return wald(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))
