"""The model as a BentoML service. MODEL names the pickled pipeline. Run by `bentoml serve`."""

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=1)
class Risk:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(rows)
