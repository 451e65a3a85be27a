"""Rules of thumb and models without some columns, against figures published for both data sets."""

import json
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from healthrisk import spec as specs
from healthrisk.data import encoding
from healthrisk.data.ingest import ingest
from healthrisk.errors import SpecError
from healthrisk.evidence import ablation
from healthrisk.evidence.nested_cv import nested
from healthrisk.spec import DatasetSpec
from healthrisk.training import search

Part = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def obesity(uci: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DatasetSpec, Part]:
    spec, path = specs.load("obesity"), tmp_path_factory.mktemp("obesity") / "table.parquet"
    ingest(spec, str(uci / "ObesityDataSet_raw_and_data_sinthetic.csv"), path)
    table = pq.read_table(path)
    return spec, (encoding.encode(spec, table), encoding.encode_target(spec, table))


def test_body_mass_index_alone_scores_919(obesity: tuple[DatasetSpec, Part]) -> None:
    (figures,) = ablation.baselines(obesity[0], obesity[1], obesity[1])
    assert figures.accuracy == figures.everywhere.mean == pytest.approx(0.919, abs=0.001)
    assert figures.everywhere.low < 0.919 < figures.everywhere.high


@pytest.mark.slow
def test_without_height_and_weight_obesity_is_harder(obesity: tuple[DatasetSpec, Part]) -> None:
    spec, part = obesity
    (core,) = spec.evidence.ablations
    once = spec.model_copy(update={"selection": spec.selection.model_copy(update={"repeats": 1})})
    intervals = ablation.AblatedModel(once, core, "random_forest", {}, 0).cross_validate(part).intervals
    assert intervals["accuracy"].mean == pytest.approx(0.86, abs=0.03)


def test_an_ablated_model_ignores_what_it_does_without(heart: tuple[DatasetSpec, np.ndarray, np.ndarray]) -> None:
    spec, matrix, y = heart
    (core,) = spec.evidence.ablations
    model = ablation.AblatedModel(spec, core, "logistic_regression", {"C": 0.1}, 0).fit((matrix, y))
    blind = matrix.copy()
    blind[:, [spec.features.index(name) for name in core.without]] = np.nan
    assert np.array_equal(model.probabilities(matrix), model.probabilities(blind))
    assert len(model.spec.features) == len(spec.features) - len(core.without)


@pytest.mark.slow
def test_nested_cross_validation_lands_near_the_published_figure(
    heart: tuple[DatasetSpec, np.ndarray, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    spec, *part = heart
    small = spec.model_copy(update={"search": {"logistic_regression": {"C": (0.03, 0.3)}}})
    caplog.set_level("INFO", "healthrisk")
    nested_cv = nested(small, ["logistic_regression"], tuple(part), seed=0, repeats=2)["logistic_regression"]
    assert (nested_cv.folds, nested_cv.repeats, len(nested_cv.scores["roc_auc"])) == (5, 2, 10)
    area = nested_cv.intervals["roc_auc"]
    assert area.mean == pytest.approx(0.910, abs=0.015)
    assert area.low < 0.910 < area.high
    assert nested_cv.intervals["brier"].mean == pytest.approx(0.117, abs=0.015)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        f"nested cross-validation of logistic_regression, {repeat}/2" for repeat in (1, 2)
    ]
    # A forked step waits at its end for processes that it has left; joblib's would end after five idle minutes.
    assert active_children() == []


def test_the_outer_folds_choose_their_own_parameters(heart: tuple[DatasetSpec, np.ndarray, np.ndarray]) -> None:
    spec, matrix, y = heart
    small = spec.model_copy(update={"search": {"logistic_regression": {"C": (0.003, 3.0)}}})
    model = search.Search(small, "logistic_regression", 0, refit=True).fit(matrix[:200], y[:200])
    assert model.best_params_["classifier__C"] in {0.003, 3.0}
    assert model.predict_proba(matrix[200:]).shape == (103, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baselines": [{"name": "x", "powers": {"sex": 1}, "cuts": [1]}]}, "is not a number's column"),
        ({"baselines": [{"name": "x", "powers": {"age": 1}, "cuts": [1, 2]}]}, "one fewer than there are classes"),
        ({"ablations": [{"name": "x", "without": ["height"]}]}, "'height' is not a column"),
        ({"bands": {"chol": [200]}}, "'chol' is not a sensitive number"),
    ],
)
def test_evidence_that_the_spec_cannot_mean_is_refused(change: dict[str, object], message: str) -> None:
    document = json.loads(specs.load("heart-disease").to_json()) | {"evidence": change}
    with pytest.raises(SpecError, match=message):
        DatasetSpec.parse(json.dumps(document))


def test_an_ablated_model_can_search_for_itself(heart: tuple[DatasetSpec, np.ndarray, np.ndarray]) -> None:
    spec, *part = heart
    grid = (0.003, 3.0)
    small = spec.model_copy(update={"search": {"logistic_regression": {"C": grid}}})
    (core,) = spec.evidence.ablations

    def probabilities(c: float, *, search: bool) -> np.ndarray:
        model = ablation.AblatedModel(small, core, "logistic_regression", {"C": c}, 0)
        if search:
            model.search(tuple(part))
        return model.fit(tuple(part)).probabilities(part[0])

    searched = probabilities(100.0, search=True)
    assert any(np.array_equal(searched, probabilities(c, search=False)) for c in grid)
