"""Open the MLflow pages on the configured tracking store."""

import os
import sys

from healthrisk.config import settings

# One process, this machine only: the page has no password.
os.execv(
    sys.executable,
    [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        settings().tracking_uri,
        "--host",
        "127.0.0.1",
        "--port",
        "5000",
    ],
)
