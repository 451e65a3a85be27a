"""Open the MLflow pages on the configured tracking store: `python pipelines/mlflow_ui.py [--port N]`."""

import argparse
import os
import sys

from healthrisk import processes
from healthrisk.config import settings
from healthrisk.processes import command


def main() -> int:
    """Become MLflow's server; return only where the port is taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="where the pages are shown (default: %(default)s)")
    port = parser.parse_args().port
    # This machine only: the pages have no password. One worker without a job runner starts several times faster, and
    # MLflow's own use of a deprecated module is nothing a reader can act upon.
    host = "127.0.0.1"
    processes.require_free_ports(host, port)
    os.environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    server = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", settings().tracking_uri]
    os.execv(sys.executable, [*server, "--host", host, "--port", str(port), "--workers", "1"])


if __name__ == "__main__":
    sys.exit(command(main))
