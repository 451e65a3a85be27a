"""The explainer: raw values in, what each adds to the risk out. `python kserve/explainer.py --bundle URI`.

It explains the bundle that the predictor serves, by its own copy of the same verified files: an explanation asks the
model some thousand times, which no hop would bear. KServe's --predictor_host is taken and not needed.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from kserve.model import InferenceVerb
from numpy.typing import NDArray

from healthrisk.bundle import Bundle
from healthrisk.inference.scorer import Scorer
from healthrisk.inference.shapley import Explainer as Shapley
from healthrisk.inference.shapley import Explanation
from healthrisk.serving.answers import Contribution, Explanations, RowExplanation, TensorMetadata
from healthrisk.serving.data_plane import Context
from healthrisk.serving.errors import RequestError
from healthrisk.serving.servers.model_server import BundleServer, serve
from healthrisk.serving.servers.served_model import RowModel
from healthrisk.serving.tensors import Response, Tensor

# At up to 50 ms each, so many rows take about three seconds: below the timeout of whoever asks.
MAX_ROWS = 64


class Explainer(RowModel):
    """Explains rows by Shapley values of the served probability, over the clinical variables."""

    platform = "healthrisk_explainer"
    actions = ("explain", "explain")
    verb = InferenceVerb.EXPLAIN
    stops_when_unheard = True

    def __init__(self, name: str, bundle: Bundle, max_rows: int, seconds: float) -> None:
        super().__init__(name, bundle, max_rows)
        self._seconds = seconds
        # One thread: an explanation takes megabytes and all of its container's core, however many wait for theirs.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explain")

    def load(self) -> bool:
        """Score the bundle's golden rows, and the background that rows are compared with.

        Raises:
            BundleError: an answer differs from the recorded one.
        """
        Scorer(self.bundle).replay_golden()
        self._shapley = Shapley.of(self.bundle)
        self.ready = True
        return self.ready

    def get_output_types(self) -> list[TensorMetadata]:
        """Describe the outputs: base and contributions of a row add up to its probability."""
        classes, features = len(self.bundle.spec.target.classes), len(self.bundle.spec.features)
        return [
            {"name": "probability", "datatype": "FP64", "shape": [-1, classes]},
            {"name": "base", "datatype": "FP64", "shape": [-1, classes]},
            {"name": "contribution", "datatype": "FP64", "shape": [-1, features, classes]},
            {"name": "standard_error", "datatype": "FP64", "shape": [-1, features, classes]},
        ]

    async def infer(self, matrix: NDArray[np.float64], request_id: str | None, context: Context) -> Response:
        """Answer a v2 request whose matrix this is."""
        explanations = await self._explain(matrix, context)
        parts = {
            "probability": np.stack([one.probability for one in explanations]),
            "base": np.stack([one.base for one in explanations]),
            "contribution": np.stack([one.values for one in explanations]),
            "standard_error": np.stack([one.errors for one in explanations]),
        }
        outputs = [Tensor(name, "FP64", values.shape, values.ravel()) for name, values in parts.items()]
        return Response(self.name, self.version, outputs, request_id, {"digest": self.bundle.digest})

    async def predict_v1(self, matrix: NDArray[np.float64], context: Context) -> Explanations:
        """Answer a v1 request in words. Of two classes the event is explained, of more the most probable one."""
        explanations = await self._explain(matrix, context)
        return {
            "explanations": [
                self._describe(row, explanation) for row, explanation in zip(matrix, explanations, strict=True)
            ]
        }

    async def _explain(self, matrix: NDArray[np.float64], context: Context) -> list[Explanation]:
        """Explain rows on the other thread, one by one, so that the rows of all requests take turns.

        Whoever leaves cancels this, after the row that is being explained.
        """
        context.read(matrix)
        context.hold_instead(matrix.nbytes)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                return [await loop.run_in_executor(self._thread, self._shapley.explain, row) for row in matrix]
        except TimeoutError:
            message = f"explaining {len(matrix)} rows takes more than {self._seconds:g} s; send fewer in one request"
            raise RequestError(504, "deadline", message) from None

    def _describe(self, row: NDArray[np.float64], explanation: Explanation) -> RowExplanation:
        spec = self.bundle.spec
        k = 1 if spec.is_binary else int(explanation.probability.argmax())
        contributions: list[Contribution] = [
            {
                "feature": column.name,
                "label": column.label,
                "value": column.format_value(float(row[place])),
                "contribution": float(explanation.values[place, k]),
                "standard_error": float(explanation.errors[place, k]),
            }
            for place, column in enumerate(spec.columns)
        ]
        return {
            "outcome": spec.target.classes[k].name,
            "class": spec.target.classes[k].value,
            "probability": float(explanation.probability[k]),
            "base": float(explanation.base[k]),
            "contributions": sorted(contributions, key=lambda one: -abs(one["contribution"])),
        }


def make(server: BundleServer, bundle: Bundle) -> Explainer:
    """Return the model of this server, not loaded yet."""
    return Explainer(server.public_name, bundle, min(server.limits.max_rows, MAX_ROWS), server.limits.answer_seconds)


def main() -> int:
    """Serve until asked to stop; return the exit code."""
    return serve(make)
