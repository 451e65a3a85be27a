"""The training step hands on what preprocess wrote, to the byte: the bundle's digest hangs on it."""

from pathlib import Path

import joblib
from kfp import dsl

from healthrisk import spec as specs
from healthrisk.bundle.manifest import DataOrigin
from healthrisk.data.ingest import ingest
from healthrisk.registry.build import build_bundle
from healthrisk.steps.train import train
from healthrisk.training.split import read_split, write_split
from tests.support import sample_bundle
from tests.support.runs import SPEC, readmissions


def test_the_bundle_holds_the_preprocessor_s_own_bytes(tmp_path: Path) -> None:
    spec = specs.load(str(SPEC))
    readmissions(400, 0).to_csv(tmp_path / "table.csv", index=False)
    ingest(spec, str(tmp_path / "table.csv"), tmp_path / "table")
    write_split(spec, tmp_path / "table", 0, tmp_path / "train", tmp_path / "test", tmp_path / "preprocessor")
    written = tmp_path / "preprocessor" / "preprocessor.joblib"
    # The same object in other bytes than another dump of it would have.
    joblib.dump(joblib.load(written), written, compress=3)
    (tmp_path / "spec.json").write_text(spec.to_json())
    names = {"spec": "spec.json", "table": "train", "preprocessor": "preprocessor", "model": "model"}
    artifacts = {argument: dsl.Artifact(uri=str(tmp_path / name)) for argument, name in names.items()}
    train.python_func(family="logistic_regression", seed=0, **artifacts)
    part = read_split(spec, tmp_path / "train")
    decision = sample_bundle.decision(spec, "logistic_regression", 0.8)
    origin = DataOrigin(sha256="0" * 64, rows=400)
    built = build_bundle(spec, tmp_path / "bundles", tmp_path / "model", [part[0]], part, decision, origin)
    assert (built.path / "preprocessor.joblib").read_bytes() == written.read_bytes()
