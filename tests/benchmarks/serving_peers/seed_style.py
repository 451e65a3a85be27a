"""The usual example: FastAPI, a pydantic model, one DataFrame a request. Run by uvicorn in the folder of the model."""

import json
import os
import warnings
from pathlib import Path

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model

# The pipeline was fitted on arrays; scikit-learn remarks on a frame's names at every call.
warnings.filterwarnings("ignore", "X has feature names")
features = json.loads((Path(os.environ["BUNDLE"]) / "golden.json").read_text())["features"]
model = joblib.load("model.joblib")
app = FastAPI()
Patient = create_model("Patient", **dict.fromkeys(features, (float, ...)))


class Risk(BaseModel):
    prediction: int
    probability: float


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/predict")
def predict(patient: Patient) -> Risk:  # type: ignore[valid-type]
    frame = pd.DataFrame([patient.model_dump()])
    probability = model.predict_proba(frame)[0, 1]
    return Risk(prediction=int(probability >= 0.5), probability=probability)
