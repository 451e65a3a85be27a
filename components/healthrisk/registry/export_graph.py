"""From scikit-learn's ensembles of trees to an ONNX graph."""

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier

from healthrisk.training.recalibration import FLOOR, Layer

# Tree ensembles with float64 thresholds and weights came with version 3 of the ML operators.
OPSETS = {"": 18, "ai.onnx.ml": 3}


def to_onnx(classifier: ClassifierMixin, width: int, layer: Layer | None = None) -> bytes:
    """Convert a fitted ensemble of trees over `width` inputs; the graph maps `features` to `probability`.

    A forest's `layer` follows its probabilities.

    Trees keep their thresholds and leaf values in float64: rounded to float32, a threshold can change side with a
    value, and a forest's sum drifts by 1e-6.
    """
    converted = convert_sklearn(
        classifier,
        name="classifier",
        initial_types=[("inputs", DoubleTensorType([None, width]))],
        options={id(classifier): {"zipmap": False}},
        target_opset=OPSETS,
    )
    graph = converted.graph
    if isinstance(classifier, HistGradientBoostingClassifier):
        _widen(graph.node[0], classifier)
    said, numbers = graph.output[1].name, list[TensorProto]()
    nodes = [helper.make_node("Cast", ["features"], ["inputs"], to=TensorProto.DOUBLE), *graph.node]
    if layer:
        added, numbers = _recalibration(layer, said)
        nodes += added
        said = added[-1].output[0]
    nodes.append(helper.make_node("Cast", [said], ["probability"], to=TensorProto.FLOAT))
    classes = len(classifier.classes_)
    serving = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, classes])],
        [*graph.initializer, *numbers],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(serving, opset_imports=opsets, ir_version=converted.ir_version)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _recalibration(layer: Layer, probabilities: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the nodes that recalibrate the tensor `probabilities` in float64, and the numbers that they take."""
    values = {"floor": FLOOR, "factor": layer.slope, "shifts": layer.shifts}
    numbers = [numpy_helper.from_array(np.asarray(value, dtype=np.float64), name) for name, value in values.items()]
    steps = [("Max", "floor"), ("Log", ""), ("Mul", "factor"), ("Add", "shifts"), ("Softmax", "")]
    nodes = [helper.make_node("Cast", [probabilities], ["precise"], to=TensorProto.DOUBLE)]
    probabilities = "precise"
    for operator, number in steps:
        name = f"recalibrated_{operator.lower()}"
        nodes.append(helper.make_node(operator, [probabilities, number] if number else [probabilities], [name]))
        probabilities = name
    return nodes, numbers


def _widen(node: NodeProto, classifier: HistGradientBoostingClassifier) -> None:
    """Put the float64 numbers of histogram boosting back: the converter rounds them to float32 in every case."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    trees = [tree.nodes for iteration in classifier._predictors for tree in iteration]
    splits = zip(given["nodes_treeids"], given["nodes_nodeids"], given["nodes_modes"], strict=True)
    leaves = zip(given["class_treeids"], given["class_nodeids"], strict=True)
    exact = {
        "nodes_values": [0.0 if mode == b"LEAF" else trees[tree][at]["num_threshold"] for tree, at, mode in splits],
        "class_weights": [trees[tree][at]["value"] for tree, at in leaves],
        "base_values": classifier._baseline_prediction.ravel(),
        "nodes_hitrates": given["nodes_hitrates"],
    }
    others = [attribute for attribute in node.attribute if attribute.name not in exact]
    del node.attribute[:]
    node.attribute.extend(others)
    for name, values in exact.items():
        tensor = numpy_helper.from_array(np.asarray(values, dtype=np.float64), name)
        node.attribute.append(helper.make_attribute(f"{name}_as_tensor", tensor))
