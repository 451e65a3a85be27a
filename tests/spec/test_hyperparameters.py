"""Hyper-parameters are checked where a spec is read, by the same rules as scikit-learn's own."""

from typing import Any

import pytest

from healthrisk.spec import FAMILIES, Family, hyperparameters
from healthrisk.training.estimators import make_classifier
from healthrisk.training.search import DEFAULT_SEARCH

TRIED: tuple[Any, ...] = (
    *(None, True, False, "sqrt", "log2", "gini", "entropy", "log_loss", "balanced", "balanced_subsample", "saga", "x"),
    *(-1, 0, 1, 2, 3, 100, -0.5, 0.0, 0.3, 0.999, 1.0, 1.5, 30.0),
)
NAMED = [(family, name) for family in FAMILIES for name in hyperparameters.SEARCHABLE[family]]


@pytest.mark.parametrize(("family", "name"), NAMED)
def test_scikit_learn_takes_what_is_allowed(family: Family, name: str) -> None:
    values = hyperparameters.SEARCHABLE[family][name]
    taken = [value for value in TRIED if values.hold(value)]
    assert taken
    for value in taken:
        make_classifier(family, 0).set_params(**{name: value})._validate_params()


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"random_forest": {"max_depht": (3,)}}, "search.random_forest: there is no parameter 'max_depht'; it has"),
        ({"logistic_regression": {"C": (1.0, -1)}}, "search.logistic_regression.C: -1 is not a number above 0"),
        ({"gradient_boosting": {"max_depth": (0,)}}, "0 is not null or a whole number from 1 up"),
        ({"random_forest": {"max_features": ("all",)}}, "'all' is not null or 'sqrt' or 'log2' or a whole number"),
    ],
)
def test_a_wrong_search_space_is_named(search: dict[Family, dict[str, tuple[Any, ...]]], says: str) -> None:
    with pytest.raises(ValueError, match=r"^search\.") as caught:
        hyperparameters.check(search)
    assert says in str(caught.value)


def test_every_default_search_is_allowed() -> None:
    hyperparameters.check({family: {k: tuple(v) for k, v in grid.items()} for family, grid in DEFAULT_SEARCH.items()})
