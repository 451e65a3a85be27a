"""Bit tables give scikit-learn's probabilities, whatever the trees' shape and wherever a value lies."""

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from healthrisk.bundle.trees import TREES, TreeTables
from healthrisk.registry.export import serving_form
from healthrisk.registry.export_trees import to_trees

FORESTS = {
    "forest, words of 64 bits": RandomForestClassifier(30, max_leaf_nodes=60, random_state=0),
    "forest, words of 32 bits": RandomForestClassifier(30, max_leaf_nodes=30, random_state=0),
    "stumps, words of 8 bits": RandomForestClassifier(30, max_depth=1, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=8, random_state=0),
}


def table(classes: int, rows: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [rows, 9] of which three are one-hot, and class positions."""
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(rows, 9)).astype(np.float32)
    inputs[:, 6:] = inputs[:, 6:] > 0
    score = inputs[:, 0] + inputs[:, 1] * inputs[:, 7] + rng.normal(0, 0.5, rows)
    return inputs, np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("model", FORESTS)
def test_the_probabilities_are_scikit_learns(model: str, classes: int) -> None:
    inputs, target = table(classes)
    classifier: Any = FORESTS[model].fit(inputs.astype(np.float64), target)
    trees = to_trees(classifier)
    assert trees.fits_tables()
    # Every threshold itself, and its neighbours on either side, as well as values far outside.
    edges = np.unique(np.float32([*trees.threshold, -1e30, 1e30]))
    near = np.concatenate([edges, np.nextafter(edges, np.float32(-np.inf)), np.nextafter(edges, np.float32(np.inf))])
    hard = np.random.default_rng(0).choice(near, (2000, inputs.shape[1])).astype(np.float32)
    rows = np.concatenate([inputs, hard])
    difference = TreeTables(trees).exact(rows) - classifier.predict_proba(rows.astype(np.float64))
    assert np.abs(difference).max() <= 1e-12


@pytest.mark.parametrize("model", FORESTS)
def test_rows_are_probabilities(model: str) -> None:
    inputs, target = table(4)
    answers = TreeTables(to_trees(FORESTS[model].fit(inputs.astype(np.float64), target))).exact(inputs)
    assert answers.min() >= 0
    assert np.abs(answers.sum(axis=1) - 1).max() <= 1e-12


def test_leaves_that_hold_no_shares_are_added_for_every_class() -> None:
    inputs, target = table(4)
    forest = RandomForestClassifier(5, max_depth=4, random_state=0).fit(inputs.astype(np.float64), target)
    shares = to_trees(forest)
    halves = tuple(tuple(tuple(value / 2 for value in values) for values in leaves) for leaves in shares.leaves)
    assert shares.leaves_hold_shares()
    assert not shares.model_copy(update={"leaves": halves}).leaves_hold_shares()
    answers = TreeTables(shares.model_copy(update={"leaves": halves})).exact(inputs)
    assert np.abs(answers - forest.predict_proba(inputs.astype(np.float64)) / 2).max() <= 1e-12


def test_each_slice_of_rows_is_answered_for_itself() -> None:
    inputs, target = table(4, rows=700)
    tables = TreeTables(to_trees(FORESTS["boosting"].fit(inputs.astype(np.float64), target)))
    one_by_one = np.concatenate([tables.exact(inputs[row : row + 1]) for row in range(len(inputs))])
    assert np.array_equal(tables.exact(inputs), one_by_one)


def test_a_tree_with_more_leaves_than_a_word_has_bits_does_not_fit() -> None:
    inputs, target = table(2)
    noisy = np.random.default_rng(1).permutation(target)
    assert not to_trees(RandomForestClassifier(3, random_state=0).fit(inputs, noisy)).fits_tables()


def test_tables_of_many_numbers_do_not_pay() -> None:
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(2000, 40)).astype(np.float32)
    target = inputs.sum(axis=1) + rng.normal(0, 3, 2000) > 0
    forest = RandomForestClassifier(20, max_leaf_nodes=60, random_state=0).fit(inputs, target)
    assert to_trees(forest).fits_tables()
    assert not TreeTables(to_trees(forest)).pay()
    assert TREES not in serving_form(forest, tuple(map(str, range(40)))).files()
    few = RandomForestClassifier(20, max_leaf_nodes=60, random_state=0).fit(inputs[:, :9], target)
    assert TREES in serving_form(few, tuple(map(str, range(9)))).files()


def test_an_ensemble_of_single_leaves_gives_its_constant() -> None:
    inputs, _ = table(2)
    one_class = np.r_[np.zeros(599, dtype=int), 1]
    classifier = RandomForestClassifier(5, min_samples_leaf=400, random_state=0).fit(inputs, one_class)
    answers = TreeTables(to_trees(classifier)).exact(inputs)
    assert np.abs(answers - classifier.predict_proba(inputs)).max() <= 1e-12
