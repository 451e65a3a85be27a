"""One step of the benchmark of scale, in a process of its own: `python -m tests.benchmarks.scale_step STEP FOLDER`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from healthrisk.spec import FAMILIES, DatasetSpec, Family
from tests.benchmarks.scale_table import TABLE, read_spec

PARTS = "train", "test"


def ingest(spec: DatasetSpec, folder: Path) -> None:
    from healthrisk.data.ingest import ingest

    ingest(spec, str(folder / TABLE), folder / "ingested").write(folder / "record.json")


def validate(spec: DatasetSpec, folder: Path) -> None:
    from healthrisk.data.validate import validate
    from healthrisk.reports.table_report import render

    report = validate(spec, folder / "ingested")
    render(spec, report)
    report.raise_if_failed()


def preprocess(spec: DatasetSpec, folder: Path) -> None:
    from healthrisk.training.split import write_split

    write_split(spec, folder / "ingested", 0, *(folder / part for part in PARTS), folder / "preprocessor")


def train(spec: DatasetSpec, folder: Path, family: Family) -> None:
    import joblib

    from healthrisk.training.split import read_groups, read_split
    from healthrisk.training.train import train

    fitted = joblib.load(folder / "preprocessor" / "preprocessor.joblib")
    groups = read_groups(folder / "train")
    train(spec, family, fitted, read_split(spec, folder / "train"), 0, groups).save(folder / family)


def parts_and_models(spec: DatasetSpec, folder: Path) -> tuple[Any, Any]:
    from healthrisk.training.split import read_split
    from healthrisk.training.train import Trained

    return [read_split(spec, folder / part) for part in PARTS], [Trained.load(folder / family) for family in FAMILIES]


def evaluate(spec: DatasetSpec, folder: Path) -> None:
    from healthrisk.training.evaluate import evaluate

    parts, models = parts_and_models(spec, folder)
    evaluate(spec, models, *parts, 0).write(folder / "decision.json")


def evidence(spec: DatasetSpec, folder: Path) -> None:
    from healthrisk.data.ingest import IngestRecord
    from healthrisk.evidence.gather import add_gates, gather
    from healthrisk.reports.evidence_files import write_report
    from healthrisk.training.decision import Decision
    from healthrisk.training.split import read_common

    parts, models = parts_and_models(spec, folder)
    decision = Decision.read(folder / "decision.json")
    common = read_common(*(folder / part for part in PARTS))
    gathered = gather(spec, models, decision.winner, *parts, 0, "quick", *common)
    decision = add_gates(spec, decision, gathered)
    decision.write(folder / "decision.json")
    record = IngestRecord.read(folder / "record.json")
    write_report(spec, decision, gathered, record, folder / "page.html", folder / "plots", folder / "cards")
    winner = decision.winning
    said = {
        "winner": decision.winner,
        "parameters": winner.parameters,
        "log_loss": winner.test.scores["log_loss"],
        "roc_auc": winner.test.scores["roc_auc"],
        "sampled": gathered.sampled.model_dump(),
        "learning_curve": gathered.learning_curve.model_dump(),
    }
    (folder / "said.json").write_text(json.dumps(said))


def register(spec: DatasetSpec, folder: Path) -> None:
    from healthrisk.data.ingest import IngestRecord
    from healthrisk.registry.register import register_winner
    from healthrisk.training.decision import Decision

    register_winner(
        spec,
        parts=[folder / part for part in PARTS],
        record=IngestRecord.read(folder / "record.json"),
        decision=Decision.read(folder / "decision.json"),
        page=(folder / "page.html").read_text(),
        plots=folder / "plots",
        models=[folder / family for family in FAMILIES],
    )


def bare(spec: DatasetSpec, folder: Path) -> None:
    """Do what a person would write: split, halve a search, cross-validate on a sample, fit, score the hold-out."""
    import joblib
    import numpy as np
    import pandas as pd
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - what HalvingGridSearchCV asks for
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.model_selection import HalvingGridSearchCV, cross_val_predict, train_test_split
    from sklearn.pipeline import make_pipeline

    from healthrisk.training import sampling
    from healthrisk.training.estimators import limits, make_classifier, search_rows
    from healthrisk.training.preprocessing import make_preprocessor
    from healthrisk.training.search import DEFAULT_SEARCH

    table = pd.read_csv(folder / TABLE)
    y, matrix = table.pop("outcome").to_numpy(), table.to_numpy(dtype=float)
    train_x, test_x, train_y, test_y = train_test_split(matrix, y, test_size=0.2, stratify=y, random_state=0)
    with joblib.parallel_config("threading", n_jobs=joblib.cpu_count()):
        for family in FAMILIES:
            classifier = make_classifier(family, 0).set_params(**limits(spec, family, len(train_y)))
            model = make_pipeline(make_preprocessor(spec), classifier)
            name = type(classifier).__name__.lower()
            grid = {f"{name}__{parameter}": values for parameter, values in DEFAULT_SEARCH[family].items()}
            most = min(len(train_y), search_rows(spec, family))
            folds = sampling.search_folds(spec, len(train_y))
            # Its resources are the rows that are fitted on and those that are scored.
            search = HalvingGridSearchCV(
                model, grid, factor=3, max_resources=most, cv=folds, scoring="neg_log_loss", refit=False, random_state=0
            )
            best = model.set_params(**search.fit(train_x, train_y).best_params_)
            judged = sampling.judged(spec, train_y, 0)
            p = cross_val_predict(best, train_x[judged], train_y[judged], cv=5, method="predict_proba")
            loss = log_loss(train_y[judged], p)
            held_out = best.fit(train_x, train_y).predict_proba(test_x)
            area = roc_auc_score(test_y, held_out[:, 1] if p.shape[1] == 2 else held_out, multi_class="ovr")
            print(f"    bare {name}: log loss {loss:.4f}, area {np.round(area, 4)}", file=sys.stderr)


def main() -> None:
    step, folder = sys.argv[1], Path(sys.argv[2])
    spec = read_spec(folder)
    if step in FAMILIES:
        train(spec, folder, cast(Family, step))
        return
    steps: dict[str, Callable[[DatasetSpec, Path], None]] = {
        "ingest": ingest,
        "validate": validate,
        "preprocess": preprocess,
        "evaluate": evaluate,
        "evidence": evidence,
        "register": register,
        "scikit-learn": bare,
    }
    steps[step](spec, folder)


if __name__ == "__main__":
    main()
