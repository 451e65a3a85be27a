"""The classifier's serving form: plain numbers where it is linear, otherwise an ONNX graph run by onnxruntime.

A linear model in float32 is another model: where a value lies far from the mean its products lose the digits that
decide, 4.6e-6 in probability on Wisconsin's breast cancer data. Float64 needs no graph, and answers sooner.
"""

import json
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle.trees import TREES, Trees, TreeTables
from healthrisk.errors import BundleError

Form = Literal["linear.json", "model.onnx"]
LINEAR: Form = "linear.json"
GRAPH: Form = "model.onnx"
FORMS: tuple[Form, ...] = (LINEAR, GRAPH)


class Classifier(Protocol):
    """Scores what the preprocessor made."""

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes] for model inputs [rows, outputs of the preprocessor]."""

    def engines(self) -> "tuple[Classifier, ...]":
        """Every way in which it may answer: each has to be proved for itself."""


@dataclass(frozen=True)
class ServingForm:
    """A classifier as it lies in a bundle: the file's name says which kind."""

    name: Form
    content: bytes
    # The same trees as plain numbers, where they fit tables.
    trees: bytes | None = None

    def files(self) -> dict[str, bytes]:
        """The files of this form, by name."""
        return {self.name: self.content} | ({TREES: self.trees} if self.trees else {})

    def load(self, threads: int = 1) -> Classifier:
        """Return the classifier, made ready to answer; a graph runs on one thread by default."""
        if self.name == LINEAR:
            return Linear.from_json(self.content)
        graph = Graph(self.content, threads)
        return Ensemble(graph, TreeTables(Trees.from_json(self.trees))) if self.trees else graph


@dataclass(frozen=True, eq=False)
class Linear:
    """A generalised linear model: `coefficients` [outputs, classes] and `intercepts` [classes] of log-odds.

    They are on the scale of the preprocessor's outputs. Of two classes the first has zeros, as the class that the
    second's odds are against.
    """

    coefficients: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes], computed in float64."""
        # Classes by rows: what goes over classes then runs along the rows, twenty times faster than across them.
        scores = np.ascontiguousarray((inputs.astype(np.float64) @ self.coefficients).T)
        scores += self.intercepts[:, None]
        # The largest is subtracted first, so that none overflows.
        scores -= np.maximum.reduce(scores, axis=0)
        np.exp(scores, out=scores)
        scores /= np.add.reduce(scores, axis=0)
        return scores.T.astype(np.float32, order="C")

    def engines(self) -> tuple[Classifier, ...]:
        """Itself."""
        return (self,)

    def to_json(self, outputs: tuple[str, ...]) -> bytes:
        """The numbers as JSON with the names of the preprocessor's outputs; floats keep every digit."""
        document = {
            "outputs": outputs,
            "intercepts": self.intercepts.tolist(),
            "coefficients": self.coefficients.tolist(),
        }
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_json(cls, document: bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            BundleError: it is something else.
        """
        try:
            data = json.loads(document)
            coefficients = np.asarray(data["coefficients"], dtype=np.float64)
            intercepts = np.asarray(data["intercepts"], dtype=np.float64)
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{LINEAR} holds no linear model: {error!r}") from error
        if coefficients.shape != (len(data["outputs"]), len(intercepts)):
            raise BundleError(f"{LINEAR}: {coefficients.shape} coefficients and {intercepts.shape} intercepts")
        return cls(coefficients, intercepts)


class Graph:
    """An ONNX graph from `features` to `probability`."""

    def __init__(self, onnx: bytes, threads: int = 1) -> None:
        # Only for a graph: a linear model's server needs none of its 60 MB.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes]."""
        result: NDArray[np.float32] = self._session.run(["probability"], {"features": inputs})[0]
        return result

    def engines(self) -> tuple[Classifier, ...]:
        """Itself."""
        return (self,)


class Ensemble:
    """Trees that an ONNX graph walks for few rows, and tables look up for many."""

    def __init__(self, graph: Graph, tables: TreeTables) -> None:
        self._graph, self._tables = graph, tables

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes]."""
        engine = self._tables if len(inputs) >= self._tables.least_rows else self._graph
        return engine.probabilities(inputs)

    def engines(self) -> tuple[Classifier, ...]:
        """The graph and the tables."""
        return self._graph, self._tables
