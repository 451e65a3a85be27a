"""The classifier's serving form: an ONNX graph, run by onnxruntime."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class Classifier:
    """The classifier alone: model input in, probabilities out. Runs on one thread unless told otherwise."""

    def __init__(self, onnx: bytes, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes] for model inputs [rows, outputs of the preprocessor]."""
        result: NDArray[np.float32] = self._session.run(["probability"], {"features": inputs})[0]
        return result
