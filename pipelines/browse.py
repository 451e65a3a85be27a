"""Open the MLflow pages on the configured tracking store."""

import os
import sys

from healthrisk.config import settings

# This machine only: the pages have no password. One worker without a job runner starts several times faster, and
# MLflow's own use of a deprecated module is nothing a reader can act upon.
os.environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
address = ["--host", "127.0.0.1", "--port", "5000", "--workers", "1"]
command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", settings().tracking_uri, *address]
os.execv(sys.executable, command)
