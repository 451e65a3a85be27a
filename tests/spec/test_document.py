"""The spec is strict, complete, and the only place that knows a data set."""

import math
import re
from pathlib import Path

import pytest
import yaml

from healthrisk import datasets
from healthrisk import spec as specs
from healthrisk.errors import SpecError
from healthrisk.spec import DatasetSpec

# By libyaml: every worker makes the variants when it collects these tests.
HEART = yaml.load((Path(datasets.__path__[0]) / "heart-disease.yaml").read_text(), yaml.CSafeLoader)


def variant(**changes: object) -> str:
    """The heart spec as YAML, with some of its fields replaced."""
    return yaml.dump(HEART | changes, Dumper=yaml.CSafeDumper, sort_keys=False)


NUMBER = {"name": "x", "label": "X", "kind": "number", "range": [0, 1]}
TEXT = {"name": "x", "label": "X", "kind": "code", "codes": {"?": "asked", "!": "told"}}
# What names the heart spec's own columns.
ALONE: dict[str, object] = {"sensitive": [], "foreign_encodings": [], "evidence": {}}


@pytest.mark.parametrize("name", specs.builtin_names())
def test_a_shipped_spec_survives_the_way_through_json(name: str) -> None:
    spec = specs.load(name)
    assert DatasetSpec.parse(spec.to_json()) == spec
    assert DatasetSpec.parse(spec.to_json()).to_json() == spec.to_json()


def test_the_shipped_specs() -> None:
    assert specs.builtin_names() == ("breast-cancer", "heart-disease", "hospital", "obesity")
    assert specs.load("heart-disease").is_binary
    assert len(specs.load("obesity").target.classes) == 7


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "must be a YAML mapping, not NoneType"),
        ("- a", "must be a YAML mapping, not list"),
        ("a: [", "not valid YAML"),
        pytest.param("{" * 200_000, "nested more than 50 levels deep", id="nested braces"),
        pytest.param("- " * 200_000, "nested more than 50 levels deep", id="nested lists"),
        ("name: a\nname: b", "key 'name' is written twice"),
        ("codes: {yes: 1}", "put it in quotes"),
        ("min_rows: 010", "010 is 8 to YAML: write 8, or put it in quotes if it is a text"),
        ("min_rows: 1_000", "1_000 is 1000 to YAML"),
        ("since: 1:30", "1:30 is 90 to YAML"),
        (variant(target={"name": "days", "label": "Days"}), "classification only, neither regression nor survival"),
        (variant(search={"random_forest": {"max_depht": [3]}}), "search.random_forest: there is no parameter 'max_dep"),
        (variant(name="Heart Disease"), "name: String should match pattern"),
        (
            variant(selection={"recalibration": "isotonic"}),
            "selection.recalibration: Input should be 'none' or 'platt'",
        ),
        (variant(colour="red"), "colour: Extra inputs are not permitted, got 'red'"),
        (variant(sensitive=["shoe size"]), "'shoe size' is named as sensitive"),
        (variant(gates=[{"metric": "sensitivity", "min": 0.5}]), "say at which risk one acts"),
        (variant(gates=[{"metric": "brier", "max": 0.2, "at": 0.3}]), "it has no threshold"),
        (variant(gates=[{"metric": "calibration_slope", "min": 0.5}]), "within is better, so give min and max"),
        (variant(gates=[{"metric": "calibration_slope", "min": 2, "max": 1}]), "min 2 is above max 1"),
        (variant(gates=[{"metric": "brier", "max": 0.2, "column": "x"}]), "compares no groups, so it has no `column`"),
        (
            variant(gates=[{"metric": "group_calibration", "min": -1, "max": 1, "column": "height"}]),
            "gates: 'height' is not a sensitive column",
        ),
        (variant(gates=[{"metric": "baseline_gain", "min": 0}]), "the evidence names no baseline"),
        (variant(gates=[{"metric": "ppv", "min": 0, "at": 0.3}] * 2), "gate 'ppv at 0.3' is listed twice"),
        (variant(evidence={"acting_from": [0.5, 0.2]}), "two rising risks"),
        (variant(risk_levels=[{"name": "a"}, {"name": "b", "any_of": [1], "at_least": 0.2}]), "rising `below` bounds"),
        (variant(gates=[{"metric": "beauty", "min": 1}]), "gates.0.metric"),
        (variant(gates=[{"metric": "brier"}]), "lower is better, so give max"),
        (
            variant(gates=[{"metric": "beauty", "min": 1}]),
            "unknown metric, expected one of accuracy, f1_macro, roc_auc",
        ),
        (
            variant(selection={"metric": "suspect_labels"}),
            "expected one of accuracy, f1_macro, roc_auc, log_loss, brier",
        ),
        (variant(recodings=[]), "recodings: since version 0.2 it is foreign_encodings"),
        (variant(evidence={"reduced": []}), "evidence.reduced: since version 0.2 it is ablations"),
        (variant(columns=[NUMBER | {"risk": "rises"}]), "columns.0.risk: since version 0.2 it is risk_direction"),
        (variant(evidence={"suspect_labels": 0.1}), "since version 0.2 it is a gate: {metric: suspect_labels, max"),
        (
            variant(evidence={"fairness": {"max_difference": 0.1}}),
            "since version 0.2 it is min_cases of the evidence, and a gate: {metric: sensitivity_difference, max",
        ),
        (variant(risk_levels=[{"name": "a", "below": 0.5}, {"name": "b", "below": 0.2}]), "rising `below` bounds"),
        (variant(columns=[{"name": "x", "label": "X", "kind": "number"}]), "need a range"),
        (variant(columns=[{"name": "x", "label": "X", "kind": "number", "range": [2, 1]}]), "need a range"),
        (variant(columns=[{"name": "x", "label": "X", "kind": "code", "codes": {1: "a"}}]), "at least two codes"),
        (variant(columns=[{"name": "x", "label": "X", "kind": "code", "codes": {1: "a", "b": "c"}}]), "all strings"),
        (variant(search={"oracle": {}}), "search.oracle"),
        (variant(search={"random_forest": {"max_depth": []}}), "search.random_forest.max_depth"),
        (variant(gates=[{"metric": "brier", "min": 0.2}]), "lower is better, so give max"),
        (variant(gates=[{"metric": "roc_auc", "min": 5}]), "5 is out of the metric's range"),
        (variant(gates=[{"metric": "roc_auc", "min": 0.5}] * 2), "gate 'roc_auc' is listed twice"),
        (variant(gates=[{"metric": "roc_auc", "min": math.nan}]), "finite number"),
        (variant(missing_tokens=["0", "?"], columns=[TEXT], **ALONE), "'?' is also a code"),
        (
            variant(columns=[NUMBER | {"missing": {"values": ["x"]}}], **ALONE),
            "'x' as a missing value must be a num",
        ),
        (
            variant(columns=[NUMBER | {"missing": {"values": [1]}}], **ALONE),
            "1 cannot mean a value and mean",
        ),
        (variant(columns=[NUMBER | {"range": [0, math.inf]}], **ALONE), "finite number"),
        (variant(columns=[NUMBER | {"name": "target"}], **ALONE), "column 'target' is listed twice"),
    ],
)
def test_a_wrong_spec_is_refused_with_its_cause(document: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        DatasetSpec.parse(document)


def test_a_column_listed_twice_is_refused() -> None:
    with pytest.raises(SpecError, match="'x' is listed twice"):
        DatasetSpec.parse(variant(columns=[NUMBER, NUMBER], **ALONE))


def test_an_unknown_data_set_names_the_known_ones() -> None:
    with pytest.raises(
        SpecError, match=r"unknown data set 'lung': expected one of breast-cancer, heart-disease, hospital, obesity"
    ):
        specs.load("lung")


def test_a_missing_spec_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"mine.yaml"):
        specs.load(str(tmp_path / "mine.yaml"))


def test_no_data_set_stands_in_the_code(root: Path) -> None:
    """Column names, raw classes and names of foreign encodings of the shipped specs occur in no module."""
    words = set()
    for name in specs.builtin_names():
        spec = specs.load(name)
        # The invented hospital table is made by a module, and its columns are common words.
        if not spec.sources:
            continue
        words |= {spec.target.name, *spec.features, *(foreign.name for foreign in spec.foreign_encodings)}
        words |= {str(value) for cls in spec.target.classes for value in cls.raw if isinstance(value, str)}
    # Words of the language that are also column names stand in code for other reasons; quoted, they would be a column.
    pattern = re.compile("|".join(rf"[\"']{re.escape(word)}[\"']" for word in sorted(words)))
    # The invented hospital table is made by a module: its columns stand there.
    invented = root / "components" / "healthrisk" / "data" / "hospital.py"
    modules = [
        *(path for path in (root / "components").rglob("*.py") if path != invented),
        *(root / "pipelines").glob("*.py"),
        *(root / "kserve").glob("*.py"),
    ]
    assert len(modules) > 20
    hits = [f"{path.relative_to(root)}: {hit[0]}" for path in modules for hit in pattern.finditer(path.read_text())]
    assert hits == []
