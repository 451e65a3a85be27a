"""healthrisk turns a clinical table into a served, watched and explainable risk model."""

import os

__version__ = "0.1.0"

# These report their use to their makers unless forbidden before they are imported; a hospital's machine calls nobody
# unasked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
