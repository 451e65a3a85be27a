"""The transformer: raw values in, risk out. `python kserve/transformer.py --bundle URI --predictor_host HOST`."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import Bundle
from healthrisk.config import settings
from healthrisk.inference.scorer import Scorer, risk_levels
from healthrisk.receipts.token import MAX_CHARACTERS, Issuer
from healthrisk.serving.answers import Prediction, Predictions, TensorMetadata
from healthrisk.serving.data_plane import Context
from healthrisk.serving.errors import RequestError
from healthrisk.serving.hop import PredictorClient
from healthrisk.serving.metrics import Distributions, ServerMetrics
from healthrisk.serving.servers.model_server import BundleServer, serve
from healthrisk.serving.servers.served_model import RowModel
from healthrisk.serving.tensors import Response, Tensor
from healthrisk.serving.trial import Trial


class Transformer(RowModel):
    """Checks and prepares rows, has the predictor score them, and says what the scores mean."""

    platform = "healthrisk_transformer"

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        predictor: PredictorClient,
        metrics: ServerMetrics,
        max_rows: int,
        issuer: Issuer | None = None,
        trial: Trial | None = None,
    ) -> None:
        super().__init__(name, bundle, max_rows)
        self._issuer, self._trial = issuer, trial
        self._predictor = predictor
        self._metrics = metrics
        self._distributions = Distributions(metrics.model, bundle)
        # A row as it waits for the predictor: its values, its model inputs, and room for its probabilities.
        self._row_bytes = 8 * len(bundle.spec.features) + 4 * len(bundle.preprocessor.outputs) + 64
        if issuer:
            self._row_bytes += 2 * MAX_CHARACTERS
        classes = bundle.spec.target.classes
        self._values = np.array(
            [cls.value for cls in classes], dtype=np.int64 if isinstance(classes[0].value, int) else object
        )
        self._prediction_type = "INT64" if isinstance(classes[0].value, int) else "BYTES"

    def load(self) -> bool:
        """Score the bundle's golden rows, so that a wrong bundle never gets to answer.

        Raises:
            BundleError: an answer differs from the recorded one.
        """
        Scorer(self.bundle).replay_golden()
        self.ready = True
        return self.ready

    def get_output_types(self) -> list[TensorMetadata]:
        """Describe the outputs."""
        return [
            {"name": "prediction", "datatype": self._prediction_type, "shape": [-1]},
            {"name": "probability", "datatype": "FP32", "shape": [-1, len(self._values)]},
            {"name": "risk_level", "datatype": "BYTES", "shape": [-1]},
        ]

    async def infer(self, matrix: NDArray[np.float64], request_id: str | None, context: Context) -> Response:
        """Answer a v2 request whose matrix this is."""
        context.hold_instead(len(matrix) * self._row_bytes)
        probabilities = await self.predict(matrix, context)
        prediction, levels = self.postprocess(matrix, probabilities)
        rows = len(levels)
        outputs = [
            Tensor(
                "prediction",
                self._prediction_type,
                (rows,),
                prediction if self._prediction_type == "INT64" else prediction.tolist(),
            ),
            Tensor("probability", "FP32", probabilities.shape, probabilities.ravel()),
            Tensor("risk_level", "BYTES", (rows,), levels),
        ]
        parameters = {"digest": self.bundle.digest}
        if imputed := self._imputed(matrix):
            # A v2 parameter is a string, number or boolean, so the rows of each feature come as JSON within a string.
            parameters["imputed"] = json.dumps(imputed)
        if self._issuer:
            context.receipts = self._issuer.issue(matrix, probabilities)
            parameters["receipt"] = " ".join(context.receipts)
        return Response(self.name, self.version, outputs, request_id, parameters)

    async def predict_v1(self, matrix: NDArray[np.float64], context: Context) -> Predictions:
        """Answer a v1 request. Of two classes `probability` is the event's; of more it maps each class to its own."""
        context.hold_instead(len(matrix) * self._row_bytes)
        probabilities = await self.predict(matrix, context)
        prediction, levels = self.postprocess(matrix, probabilities)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        binary = self.bundle.spec.is_binary
        shown = (
            probabilities[:, 1].tolist()
            if binary
            else [dict(zip(self._values, row, strict=True)) for row in probabilities.tolist()]
        )
        predictions: list[Prediction] = [
            {"prediction": value, "probability": probability, "risk_level": level, "timestamp": now}
            for value, probability, level in zip(prediction.tolist(), shown, levels, strict=True)
        ]
        for feature, rows in self._imputed(matrix).items():
            for row in rows:
                predictions[row].setdefault("imputed", []).append(feature)
        if self._issuer:
            context.receipts = self._issuer.issue(matrix, probabilities)
            for answer, receipt in zip(predictions, context.receipts, strict=True):
                answer["receipt"] = receipt
        return {"predictions": predictions}

    async def predict(self, payload: NDArray[np.float64], context: Context) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes] of an encoded matrix, from the predictor."""
        context.read(payload)
        inputs = self.bundle.preprocessor.transform(payload)
        try:
            with self._metrics.hop_seconds.time():
                return await self._predictor.probabilities(inputs, context.traceparent, context.tracestate)
        except RequestError as error:
            self._metrics.hop_failed(error.reason)
            raise

    def postprocess(
        self, matrix: NDArray[np.float64], probabilities: NDArray[np.float32]
    ) -> tuple[NDArray[Any], list[str]]:
        """Return the predicted class values [rows] and risk levels [rows], and count what was seen."""
        classes = probabilities.argmax(axis=1)
        self._distributions.add(matrix, probabilities)
        if self._trial:
            self._trial.add(matrix, probabilities)
        return self._values[classes], risk_levels(self.bundle.spec, probabilities)

    def _imputed(self, matrix: NDArray[np.float64]) -> dict[str, list[int]]:
        """Return the rows in which each feature was filled in."""
        absent = np.isnan(matrix)
        places = np.flatnonzero(absent.any(axis=0)).tolist()
        return {self.bundle.spec.features[place]: np.flatnonzero(absent[:, place]).tolist() for place in places}


def make(server: BundleServer, bundle: Bundle) -> Transformer:
    """Return the model of this server, not loaded yet.

    Raises:
        ValueError: there is no --predictor_host, or it has no valid port.
        ConfigError: the key that is to sign receipts is too short, or the version to compare with reads other columns.
        BundleError: the bundle of the version to compare with is not whole, or another.
    """
    keys = settings().receipt_keys
    issuer = Issuer(bundle, keys[0]) if keys else None
    classes = len(bundle.spec.target.classes)
    predictor = PredictorClient(server.predictor_address(), server.model_name, bundle.version, classes)
    trial = _trial(server, bundle)
    return Transformer(server.public_name, bundle, predictor, server.metrics, server.limits.max_rows, issuer, trial)


def _trial(server: BundleServer, bundle: Bundle) -> Trial | None:
    args = server.args
    # A cluster's template always names a folder: the digest of nothing says that nothing lies there.
    if not args.compared_bundle or args.compared_digest == "":
        return None
    other = Bundle.open(Path(args.compared_bundle), args.compared_digest)
    client = PredictorClient(
        server.address(args.compared_host), other.spec.name, other.version, len(other.spec.target.classes)
    )
    # A challenger is served under a name of its own, and answers to its model's.
    return Trial(bundle, other, client, other_is_champion=server.model_name != server.public_name)


def main() -> int:
    """Serve until asked to stop; return the exit code."""
    return serve(make)
