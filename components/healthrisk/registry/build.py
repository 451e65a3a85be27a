"""Turn the winner into a bundle: serving form, proof of parity, golden rows and reference distributions."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import Bundle, bundle, parity, reference
from healthrisk.bundle.classifier import ServingForm
from healthrisk.bundle.golden import Golden
from healthrisk.bundle.manifest import DataOrigin, Parity, Provenance
from healthrisk.bundle.preprocessor import Preprocessor
from healthrisk.data import encoding
from healthrisk.inference.scorer import risk_levels
from healthrisk.receipts import validation_bins
from healthrisk.registry import export, provenance
from healthrisk.spec import DatasetSpec
from healthrisk.training import preprocessing
from healthrisk.training.decision import Decision
from healthrisk.training.sampling import Part
from healthrisk.training.train import Trained

GOLDEN_ROWS = 20
ROWS_AT_ONCE = 250_000


def build_bundle(
    spec: DatasetSpec,
    folder: Path,
    source: Path,
    seen: Sequence[NDArray[np.float64]],
    judged: Part,
    decision: Decision,
    data: DataOrigin,
) -> Bundle:
    """Write the bundle of the trained model in `source` below `folder` and return it opened.

    `seen` are encoded matrices of every row that the pipeline has seen, `judged` the rows that the model was judged on,
    those of training first; `data` says where they are from.

    Raises:
        BundleError: the serving form differs from scikit-learn's by more than 1e-6 on any of these rows or on 10,000
            generated ones.
    """
    trained = Trained.load(source)
    preprocessor = preprocessing.extract(spec, trained.preprocessing)
    serving = export.serving_form(trained.classifier, preprocessor.outputs)
    generated = parity.generate_rows(spec, parity.GENERATED_ROWS, trained.record.seed)
    proven = _prove_parity(trained, preprocessor, serving, [*seen, generated])
    documents = _documents(spec, trained, preprocessor, serving, judged, generated)
    documents["metrics.json"] = decision.to_json()

    def fill(path: Path) -> Provenance:
        for name in ("model.joblib", "preprocessor.joblib"):
            shutil.copyfile(source / name, path / name)
        for name, content in serving.files().items():
            (path / name).write_bytes(content)
        for name, text in documents.items():
            (path / name).write_text(text, "utf-8")
        return _origin(spec, trained, data, proven)

    return bundle.write(folder, fill)


def _origin(spec: DatasetSpec, trained: Trained, data: DataOrigin, proven: Parity) -> Provenance:
    return Provenance(
        name=spec.name,
        family=trained.family,
        parameters=trained.record.parameters,
        seed=trained.record.seed,
        data=data,
        parity=proven,
        **provenance.code_origin().model_dump(),
    )


def _prove_parity(
    trained: Trained, preprocessor: Preprocessor, serving: ServingForm, matrices: Sequence[NDArray[np.float64]]
) -> Parity:
    """Compare the serving form with scikit-learn's objects on encoded rows, in bounded memory."""
    differences = []
    for matrix in matrices:
        for begin in range(0, len(matrix), ROWS_AT_ONCE):
            rows = matrix[begin : begin + ROWS_AT_ONCE]
            expected = trained.classifier.predict_proba(_independent(trained, rows))
            differences.append(parity.check_form(expected, preprocessor, serving, rows))
    return Parity(rows=sum(map(len, matrices)), largest_difference=max(differences))


def _documents(
    spec: DatasetSpec,
    trained: Trained,
    preprocessor: Preprocessor,
    serving: ServingForm,
    judged: Part,
    generated: NDArray[np.float64],
) -> dict[str, str]:
    """Return what servers read besides the classifier, by file."""
    matrix, y = judged
    held_out = serving.load().probabilities(preprocessor.transform(matrix[len(trained.out_of_fold) :]))
    # As new rows will be scored: a model is surer of those it has seen.
    unseen = np.vstack([trained.out_of_fold.astype(np.float32), held_out])
    described = reference.describe(spec, matrix, unseen)
    bins = validation_bins.count(spec, described, matrix, unseen, y)
    return {
        "spec.json": spec.to_json(),
        "preprocessor.json": preprocessor.to_json(),
        "golden.json": _golden(spec, preprocessor, serving, generated).to_json(),
        "reference.json": described.model_copy(update={"validated": bins}).to_json(),
    }


def _independent(trained: Trained, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Preprocess with scikit-learn's own transformers, so that parity compares two implementations."""
    prepared: NDArray[np.float64] = trained.preprocessing.transform(rows)
    return prepared.astype(np.float32).astype(np.float64)


def _golden(
    spec: DatasetSpec, preprocessor: Preprocessor, serving: ServingForm, generated: NDArray[np.float64]
) -> Golden:
    """Rows with their answers, spread over classes and probabilities.

    They are generated rows: a bundle travels further than a patient's data may.
    """
    model = serving.load()
    probabilities = model.probabilities(preprocessor.transform(generated))
    order = np.lexsort((probabilities.max(axis=1), probabilities.argmax(axis=1)))
    rows = generated[order[np.linspace(0, len(order) - 1, GOLDEN_ROWS, dtype=np.intp)]]
    answers = model.probabilities(preprocessor.transform(rows))
    return Golden(
        features=spec.features,
        rows=tuple(map(tuple, encoding.decode(spec, rows))),
        probability=tuple(map(tuple, answers.astype(float).tolist())),
        prediction=tuple(spec.target.classes[k].value for k in answers.argmax(axis=1)),
        risk_level=tuple(risk_levels(spec, answers)),
    )
