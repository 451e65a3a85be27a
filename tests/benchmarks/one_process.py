"""The pipeline's work in one process: the same library calls, no components, no artifacts passed between processes."""

import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import joblib

from healthrisk import spec as specs
from healthrisk.data.ingest import ingest
from healthrisk.data.validate import validate
from healthrisk.evidence.gather import add_gates, gather
from healthrisk.registry.provenance import code_origin
from healthrisk.registry.register import register_winner
from healthrisk.reports.model_report import drawings, render, save_plots
from healthrisk.reports.plots import to_png
from healthrisk.reports.table_report import render as render_validation
from healthrisk.spec import FAMILIES
from healthrisk.training.evaluate import evaluate
from healthrisk.training.split import read_split, write_split
from healthrisk.training.train import train

# Nothing is forked then, so that all of it is done by this process.
multiprocessing.set_start_method("spawn")
spec = specs.load(sys.argv[1])
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    record = ingest(spec, "", folder / "table")
    checked = validate(spec, folder / "table")
    render_validation(spec, checked)
    checked.raise_if_failed()
    paths = [folder / "train", folder / "test"]
    write_split(spec, folder / "table", 0, *paths, folder / "preprocessor")
    parts = read_split(spec, paths[0]), read_split(spec, paths[1])
    fitted = joblib.load(folder / "preprocessor" / "preprocessor.joblib")
    models = [train(spec, family, fitted, parts[0], 0) for family in FAMILIES]
    for model in models:
        model.save(folder / model.family)
    decision = evaluate(spec, models, *parts, 0)
    gathered = gather(spec, models, decision.winner, *parts, 0, "quick")
    decision = add_gates(spec, decision, gathered)
    pictures = {name: to_png(draw()) for name, draw in drawings(spec, decision, gathered).items()}
    save_plots(pictures, folder / "plots")
    page = render(spec, decision, gathered, record, code_origin(), pictures)
    folders = [folder / family for family in FAMILIES]
    register_winner(
        spec, parts=paths, record=record, decision=decision, page=page, plots=folder / "plots", models=folders
    )
print(json.dumps({"cpu": round(time.process_time(), 2)}))
