"""Names as hospitals have them: safe ones are derived, in one way, and whatever mentions a column follows."""

import re
import unicodedata
from typing import Any

import pytest
import yaml

from healthrisk.errors import SpecError
from healthrisk.spec import DatasetSpec
from healthrisk.spec.column_names import safe

DOCUMENT: dict[str, Any] = {
    "name": "ward",
    "title": "Ward",
    "description": "Invented.",
    "columns": [
        {"name": "Größe (cm)", "label": "Height", "kind": "number", "range": [50, 250]},
        {"name": "2. Messung", "label": "Second", "kind": "number", "range": [0, 9]},
        {"name": "Raucher?", "label": "Smoker", "kind": "boolean"},
    ],
    "target": {
        "name": "Verstorben",
        "label": "Died",
        "classes": [{"name": "no", "value": 0, "raw": [0]}, {"name": "yes", "value": 1, "raw": [1]}],
    },
    "sensitive": ["Größe (cm)"],
    "risk_levels": [{"name": "Low", "below": 0.5}, {"name": "High"}],
    "evidence": {
        "bands": {"Größe (cm)": [160]},
        "ablations": [{"name": "one", "without": ["2. Messung"]}],
        "baselines": [{"name": "tall", "powers": {"Größe (cm)": 1}, "cuts": [170]}],
    },
}


def parsed(**changes: Any) -> DatasetSpec:
    return DatasetSpec.parse(yaml.safe_dump(DOCUMENT | changes, allow_unicode=True))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("age", "age"),
        ("mean radius", "mean_radius"),
        ("Größe (cm)", "Groesse_cm"),
        ("2. Messung", "c_2._Messung"),
        ("Âge d'entrée", "Age_d_entree"),
        ("  SpO2 % ", "SpO2"),
        ("x" * 80, "x" * 63),
    ],
)
def test_a_safe_name_follows_from_a_header(header: str, name: str) -> None:
    assert safe(header) == name
    assert safe(unicodedata.normalize("NFD", header)) == name
    assert safe(name) == name


def test_whatever_mentions_a_column_follows_it() -> None:
    spec = parsed()
    assert spec.features == ("Groesse_cm", "c_2._Messung", "Raucher")
    assert [column.in_table for column in spec.columns] == ["Größe (cm)", "2. Messung", "Raucher?"]
    assert spec.sensitive == ("Groesse_cm",)
    assert list(spec.evidence.bands) == list(spec.evidence.baselines[0].powers) == ["Groesse_cm"]
    assert spec.evidence.ablations[0].without == ("c_2._Messung",)
    assert DatasetSpec.parse(spec.to_json()) == spec
    assert spec.reduce(["Raucher"]).columns[0].header == "Größe (cm)"


def test_composed_and_decomposed_are_one_name() -> None:
    apart = yaml.safe_dump(DOCUMENT, allow_unicode=True)
    assert DatasetSpec.parse(unicodedata.normalize("NFD", apart)) == parsed()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (["a b", "a_b"], "columns 'a b' and 'a_b' are both 'a_b' in requests"),
        (["年齢"], "column '年齢': no safe name follows from it"),
        (["a", "a"], "column 'a' is listed twice"),
    ],
)
def test_names_that_would_be_the_same_are_refused(columns: list[str], says: str) -> None:
    listed = [{"name": name, "label": "L", "kind": "number", "range": [0, 1]} for name in columns]
    with pytest.raises(SpecError, match=re.escape(says)):
        parsed(columns=listed, sensitive=[], evidence={})


def test_a_boolean_has_two_codes_and_no_others() -> None:
    column = parsed().by_name["Raucher"]
    assert (column.kind, column.meanings, column.boolean) == ("code", {0: "no", 1: "yes"}, True)
    wrong = {"name": "x", "label": "X", "kind": "boolean", "codes": {1: "no", 2: "yes"}}
    with pytest.raises(SpecError, match="a boolean column has the codes 0 and 1"):
        parsed(columns=[wrong], sensitive=[], evidence={})
