"""The classifier's serving form: an ONNX graph from float32 model input to float32 probabilities."""

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

# Tree ensembles with float64 thresholds and weights came with version 3 of the ML operators.
OPSETS = {"": 18, "ai.onnx.ml": 3}


def to_onnx(classifier: ClassifierMixin, width: int) -> bytes:
    """Convert a fitted classifier of `width` inputs; the graph maps `features` to `probability`.

    Trees keep their thresholds and leaf values in float64: rounded to float32, a threshold can change side with a
    value, and a forest's sum drifts by 1e-6.
    """
    linear = isinstance(classifier, LogisticRegression)
    kind = FloatTensorType if linear else DoubleTensorType
    converted = convert_sklearn(
        classifier,
        name="classifier",
        initial_types=[("inputs", kind([None, width]))],
        options={id(classifier): {"zipmap": False}},
        target_opset=OPSETS,
    )
    graph = converted.graph
    if isinstance(classifier, HistGradientBoostingClassifier):
        _widen(graph.node[0], classifier)
    scores = graph.output[1].name
    wide = TensorProto.FLOAT if linear else TensorProto.DOUBLE
    nodes = [helper.make_node("Cast", ["features"], ["inputs"], to=wide), *graph.node]
    nodes.append(helper.make_node("Cast", [scores], ["probability"], to=TensorProto.FLOAT))
    classes = len(classifier.classes_)
    serving = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, classes])],
        graph.initializer,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(serving, opset_imports=opsets, ir_version=converted.ir_version)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


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
    kept = [attribute for attribute in node.attribute if attribute.name not in exact]
    del node.attribute[:]
    node.attribute.extend(kept)
    for name, values in exact.items():
        tensor = numpy_helper.from_array(np.asarray(values, dtype=np.float64), name)
        node.attribute.append(helper.make_attribute(f"{name}_as_tensor", tensor))
