"""A large invented hospital table, for learning and for measuring: it describes nobody.

Three outcomes, the severe one in about 2 % of visits; patients who come more than once; two years; three sites with
populations of their own. In the last half year three things change that a watcher should see: one site measures lactate
with another device (values a third higher), creatinine goes missing more often, and at equal values the severe outcome
becomes commoner (concept drift).
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from healthrisk.data import tables
from healthrisk.documents import Document

ROWS_AT_ONCE = 100_000
SITES = ("north", "south", "lake")
WARDS = ("medical", "surgical", "emergency", "other")
OUTCOMES = ("none", "moderate", "severe")
BEGIN = np.datetime64("2024-01-01")
DAYS = 730
# The first day of what changes.
DRIFT_DAY = 548
# A patient's mean number of visits.
VISITS = 2.5
# Shares of moderate and severe outcomes come out near 15 and 2 %.
_MODERATE, _SEVERE = 2.6, 5.7
_VITALS = {
    # name: mean, standard deviation, lowest, highest, digits, weight of one standard deviation in the risk
    "heart_rate": (82.0, 16.0, 25.0, 220.0, 0, 0.45),
    "systolic": (128.0, 22.0, 50.0, 260.0, 0, -0.35),
    "respiration": (17.0, 4.0, 5.0, 60.0, 0, 0.55),
    "temperature": (36.9, 0.7, 32.0, 42.5, 1, 0.2),
    "saturation": (96.0, 3.0, 50.0, 100.0, 0, -0.6),
    "haemoglobin": (13.2, 1.9, 3.0, 22.0, 1, -0.25),
    "leucocytes": (8.4, 3.1, 0.1, 80.0, 1, 0.3),
    "creatinine": (92.0, 35.0, 15.0, 1500.0, 0, 0.45),
    "lactate": (1.5, 0.8, 0.2, 25.0, 1, 0.7),
    "bmi": (26.5, 5.2, 11.0, 80.0, 1, 0.1),
}


class WrittenTable(Document):
    """Where a table was written, and how many rows it has."""

    table: Path
    rows: int


def write_table(path: Path, rows: int, seed: int) -> None:
    """Write `rows` visits to a .csv or .parquet file in bounded memory; the same seed gives the same table.

    Raises:
        SourceError: the file cannot be written, or its name ends in neither.
    """
    with tables.Writer(path) as writer:
        for number, begin in enumerate(range(0, rows, ROWS_AT_ONCE)):
            writer.write(_visits(np.random.default_rng([seed, number]), begin, min(ROWS_AT_ONCE, rows - begin), rows))


def _visits(rng: np.random.Generator, begin: int, rows: int, total: int) -> pa.RecordBatch:
    """Return a batch of visits, in the order of time."""
    # Rows are spread evenly over the two years, so that each batch stands for a stretch of time.
    day = np.sort(((begin + rng.uniform(0, rows, rows)) / total * DAYS).astype(np.int64))
    patient = rng.integers(0, max(1, round(total / VISITS)), rows)
    # What stays with a patient over visits follows from the patient's number alone.
    born, frailty, build = (_lasting(patient, which) for which in range(3))
    age = 18 + (born * 73).astype(np.int64) + day // 365
    site = np.digitize(patient * 7 % 10, [5, 8])
    female = patient % 2
    drifted = day >= DRIFT_DAY
    values = {name: _vital(rng, name, site, rows) for name in _VITALS}
    values["bmi"] = np.round(17 + 19 * build + rng.normal(0, 0.5, rows), 1)
    earlier = rng.poisson(0.8 + 0.02 * (age - 18), rows)
    medicines = rng.poisson(2 + 0.06 * (age - 18), rows)
    risk = 0.03 * (age - 60) + 0.12 * earlier + 0.25 * (site == 2) + 3 * (frailty - 0.5)
    for name, (mean, deviation, *_, weight) in _VITALS.items():
        risk += weight * (values[name] - mean) / deviation
    outcome = _outcome(rng, risk + 0.8 * drifted)
    values["lactate"] = np.where(drifted & (site == 1), np.round(values["lactate"] * 1.33, 1), values["lactate"])
    missing = {name: rng.random(rows) < 0.04 for name in ("lactate", "leucocytes", "haemoglobin", "bmi")}
    missing["creatinine"] = rng.random(rows) < np.where(drifted, 0.20, 0.05)
    arrays: dict[str, pa.Array] = {
        "patient": pa.array(patient),
        "visit": pa.array(BEGIN + day),
        "site": pa.array(np.array(SITES)[site]),
        "age": pa.array(age),
        "sex": pa.array(np.where(female == 1, "female", "male")),
        "ward": pa.array(rng.choice(WARDS, rows, p=[0.45, 0.3, 0.15, 0.1])),
        **{name: pa.array(one, mask=missing.get(name)) for name, one in values.items()},
        "earlier_admissions": pa.array(np.minimum(earlier, 40)),
        "medicines": pa.array(np.minimum(medicines, 40)),
        "outcome": pa.array(np.array(OUTCOMES)[outcome]),
    }
    return pa.record_batch(list(arrays.values()), names=list(arrays))


def _lasting(patient: NDArray[np.int64], which: int) -> NDArray[np.float64]:
    """Return a share in [0, 1) that a patient keeps."""
    shuffled = np.random.default_rng(which).permutation(997)
    return np.asarray(shuffled[patient % 997] / 997)


def _vital(rng: np.random.Generator, name: str, site: NDArray[np.intp], rows: int) -> NDArray[np.float64]:
    """Return a measurement at each visit [rows]; sites differ by a fifth of a standard deviation."""
    mean, deviation, low, high, digits, _ = _VITALS[name]
    raw = mean + deviation * (rng.standard_normal(rows) + 0.2 * (site - 1))
    return np.asarray(np.round(np.clip(raw, low, high), digits), dtype=np.float64)


def _outcome(rng: np.random.Generator, risk: NDArray[np.float64]) -> NDArray[np.intp]:
    """Draw each visit's outcome [rows] by an ordered logit of its risk."""
    noise = rng.logistic(size=len(risk))
    return np.digitize(risk + noise, [_MODERATE, _SEVERE])
