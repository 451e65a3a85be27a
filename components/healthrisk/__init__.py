"""healthrisk turns a clinical table into a served, watched and explainable risk model."""

import os

__version__ = "0.1.0"

# MLflow reports its use to its makers when it is imported; a hospital's machine calls nobody unasked.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
