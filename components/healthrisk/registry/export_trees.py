"""From scikit-learn's ensembles of trees to plain numbers."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from healthrisk.bundle.trees import Trees


def to_trees(classifier: RandomForestClassifier | HistGradientBoostingClassifier) -> Trees:
    """Return the plain numbers of a fitted ensemble, its leaves numbered from left to right."""
    nodes: list[tuple[int, int, float, int, int]] = []
    if isinstance(classifier, RandomForestClassifier):
        walked = [_walk(_forest_tree(tree.tree_), number, nodes) for number, tree in enumerate(classifier.estimators_)]
        classes = tuple(range(classifier.n_classes_))
        targets, link, baseline = [classes] * len(walked), "mean", (0.0,) * len(classes)
    else:
        grown = [(output, tree) for step in classifier._predictors for output, tree in enumerate(step)]
        walked = [_walk(_boosted_tree(tree.nodes), number, nodes) for number, (_, tree) in enumerate(grown)]
        targets = [(output,) for output, _ in grown]
        baseline = tuple(classifier._baseline_prediction.ravel().tolist())
        link = "logistic" if len(baseline) == 1 else "softmax"
    tree, feature, threshold, begin, end = zip(*nodes, strict=True) if nodes else ((),) * 5
    return Trees.model_validate(
        {
            "link": link, "baseline": baseline, "tree": tree, "feature": feature, "threshold": threshold,
            "begin": begin, "end": end, "targets": targets, "leaves": walked,
        }
    )  # fmt: skip


def most_leaves(classifier: RandomForestClassifier | HistGradientBoostingClassifier) -> int:
    """Return the number of leaves of a fitted ensemble's largest tree."""
    if isinstance(classifier, RandomForestClassifier):
        return max(int(tree.tree_.n_leaves) for tree in classifier.estimators_)
    return max(int(tree.get_n_leaf_nodes()) for step in classifier._predictors for tree in step)


class _Tree(NamedTuple):
    """One tree by node: its children (the left one -1 at a leaf), its test, and the values [nodes, outputs]."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    values: NDArray[np.float64]


def _forest_tree(tree: Any) -> _Tree:
    counts = tree.value[:, 0, :]
    shares = counts / counts.sum(axis=1, keepdims=True)
    return _Tree(tree.children_left, tree.children_right, tree.feature, tree.threshold, shares)


def _boosted_tree(nodes: Any) -> _Tree:
    left = np.where(nodes["is_leaf"], -1, nodes["left"].astype(np.int64))
    right = nodes["right"].astype(np.int64)
    return _Tree(left, right, nodes["feature_idx"], nodes["num_threshold"], nodes["value"][:, None])


def _walk(tree: _Tree, number: int, nodes: list[tuple[int, int, float, int, int]]) -> list[list[float]]:
    """Append a tree's tests, each with the leaves of its left branch; return its leaves' values from left to right."""
    leaves: list[list[float]] = []

    def visit(node: int) -> None:
        if tree.left[node] < 0:
            leaves.append(tree.values[node].tolist())
            return
        begin = len(leaves)
        visit(int(tree.left[node]))
        nodes.append((number, int(tree.feature[node]), float(tree.threshold[node]), begin, len(leaves)))
        visit(int(tree.right[node]))

    visit(0)
    return leaves
