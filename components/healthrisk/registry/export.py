"""From scikit-learn's classifier to its serving form: a linear one's numbers, or an ONNX graph of any other."""

import copy

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier

from healthrisk.bundle.classifier import GRAPH, LINEAR, Linear, ServingForm
from healthrisk.bundle.trees import MOST_LEAVES, TreeTables
from healthrisk.registry.export_trees import most_leaves, to_trees
from healthrisk.training.recalibration import Layer, RecalibratedClassifier, linear_numbers


def serving_form(classifier: ClassifierMixin, outputs: tuple[str, ...]) -> ServingForm:
    """Return the serving form of a fitted classifier, given the preprocessor's outputs, which are its inputs."""
    if numbers := linear_numbers(classifier):
        return ServingForm(LINEAR, to_linear(*numbers).to_json(outputs))
    # Heavy: the converter, which a linear model does without.
    from healthrisk.registry.export_graph import to_onnx

    if isinstance(classifier, RecalibratedClassifier):
        fitted, layer = classifier.classifier_, classifier.layer
        if isinstance(fitted, HistGradientBoostingClassifier):
            return serving_form(_folded(fitted, layer), outputs)
        return ServingForm(GRAPH, to_onnx(fitted, len(outputs), layer))
    return ServingForm(GRAPH, to_onnx(classifier, len(outputs)), _tables(classifier))


def _tables(classifier: ClassifierMixin) -> bytes | None:
    """Return the plain numbers of trees whose tables pay; of large trees they are never made, for it takes minutes."""
    if most_leaves(classifier) > MOST_LEAVES:
        return None
    trees = to_trees(classifier)
    return trees.to_json().encode() if trees.fits_tables() and TreeTables(trees).pay() else None


def to_linear(coefficients: NDArray[np.float64], intercepts: NDArray[np.float64]) -> Linear:
    """Return a linear model of coefficients [outputs, inputs], with zeros for the first of two classes."""
    coefficients = coefficients.T
    if len(intercepts) == 1:
        coefficients, intercepts = np.hstack([0 * coefficients, coefficients]), np.append(0.0, intercepts)
    return Linear(coefficients, intercepts)


def _folded(classifier: HistGradientBoostingClassifier, layer: Layer) -> HistGradientBoostingClassifier:
    """Return a copy of boosted trees whose leaves and baseline hold a layer: log-odds are their sum."""
    copied = copy.deepcopy(classifier)
    for tree in (tree for step in copied._predictors for tree in step):
        tree.nodes["value"] *= layer.slope
    baseline = copied._baseline_prediction
    copied._baseline_prediction = layer.slope * baseline + layer.shifts[-baseline.size :]
    return copied
