"""What an explanation costs: ours beside the shap package's, on one model and the same patients, in one process.

python -m tests.benchmarks.explaining [--patients N] [--json FILE]
"""

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import shap

from healthrisk.bundle import Bundle, parity
from healthrisk.inference.scorer import Scorer
from healthrisk.inference.shapley import Explainer
from healthrisk.spec import FAMILIES
from healthrisk.training import threads
from tests.support import sample_bundle

DATASETS = ("heart-disease", "obesity")


def milliseconds(explain: Callable[[np.ndarray], Any], patients: np.ndarray) -> float:
    """Return the median CPU time of explaining one patient, in milliseconds."""
    explain(patients[0])
    spent = []
    for patient in patients:
        began = time.process_time()
        explain(patient)
        spent.append(1000 * (time.process_time() - began))
    return float(np.median(spent))


def compare(dataset: str, family: str, folder: Path, count: int) -> dict[str, Any]:
    """Time both on one model. shap walks forth and back once from each of our background patients, as we do."""
    with threads.for_rows(1000):
        bundle = Bundle.open(sample_bundle.build(dataset, family, folder))
    ours, scorer = Explainer.of(bundle), Scorer(bundle)
    # shap's masker takes no NaN for a value, and imputing is the first thing that the model does.
    background = np.where(np.isnan(ours.background), bundle.preprocessor.fill, ours.background)
    masker = shap.maskers.Independent(background, max_samples=len(background))
    theirs = shap.PermutationExplainer(scorer.probabilities, masker)
    patients = parity.generate_rows(bundle.spec, 2 * count, 5)
    patients = np.where(np.isnan(patients), bundle.preprocessor.fill, patients)[:count]
    evaluations = 2 * len(bundle.spec.features) + 1
    measured = {
        "ours_ms": milliseconds(ours.explain, patients),
        "shap_ms": milliseconds(lambda patient: theirs(patient[None], max_evals=evaluations, silent=True), patients),
    }
    return {"dataset": dataset, "family": family, **measured, "ratio": measured["shap_ms"] / measured["ours_ms"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    results = []
    print(f"{'one patient, CPU':<40}{'ours':>10}{'shap':>10}{'shap/ours':>11}")
    with tempfile.TemporaryDirectory() as folder:
        for dataset in DATASETS:
            for family in FAMILIES:
                one = compare(dataset, family, Path(folder), given.patients)
                name = f"{dataset}, {family.replace('_', ' ')}"
                print(f"{name:<40}{one['ours_ms']:>7.1f} ms{one['shap_ms']:>7.1f} ms{one['ratio']:>11.1f}", flush=True)
                results.append(one)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
