"""Other servers of one process each, in an environment of their own that is made from their lock."""

import os
import subprocess
import sys
from pathlib import Path

from serving_systems import HERE, ROOT, Program, System, free_ports

LOCK = Path(__file__).with_name("serving-peers.txt")


def peers(bundle: Path, folder: Path) -> list[System]:
    """Return the single-process servers on the same model in scikit-learn's form, which is written into a folder."""
    binaries = peers_venv()
    prepare = [str(binaries / "python"), str(HERE / "prepare.py"), str(bundle), str(folder)]
    subprocess.run(prepare, check=True, capture_output=True)
    path = {"PATH": f"{binaries}:{os.environ['PATH']}"}
    return [
        fastapi(bundle, folder, binaries),
        mlserver(folder, binaries, path),
        mlflow(folder, binaries, path),
        bentoml(folder, binaries, path),
    ]


def fastapi(bundle: Path, folder: Path, binaries: Path) -> System:
    """FastAPI with a pydantic model and a DataFrame, as tutorials have it."""
    quiet = ["--no-access-log", "--log-level=warning"]
    command = [str(binaries / "uvicorn"), "--app-dir", str(HERE), "seed_style:app", "--port={port}", *quiet]
    return System(
        "FastAPI, pydantic, DataFrame",
        [Program(command, "/health", folder, {"BUNDLE": str(bundle)})],
        "/predict",
        lambda rows: rows[0],
        lambda answer: answer["probability"],
    )


def mlserver(folder: Path, binaries: Path, path: dict[str, str]) -> System:
    """MLServer's runtime for scikit-learn, in one process."""
    environment = path | {
        "MLSERVER_HTTP_PORT": "{port}",
        "MLSERVER_GRPC_PORT": "{grpc}",
        "MLSERVER_METRICS_PORT": str(free_ports()[0]),
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_DEBUG": "false",
    }
    return System(
        "MLServer",
        [Program([str(binaries / "mlserver"), "start", "."], "/v2/health/ready", folder, environment)],
        "/v2/models/risk/infer",
        lambda rows: {
            "inputs": [
                {
                    "name": "features",
                    "datatype": "FP64",
                    "shape": [len(rows), len(rows[0])],
                    "data": [value for row in rows for value in row.values()],
                }
            ],
            "outputs": [{"name": "predict_proba"}],
        },
        lambda answer: answer["outputs"][0]["data"][1],
    )


def mlflow(folder: Path, binaries: Path, path: dict[str, str]) -> System:
    """MLflow's scoring server, with one worker."""
    command = [str(binaries / "mlflow"), "models", "serve", "--model-uri", "mlflow", "--env-manager=local"]
    return System(
        "MLflow scoring server",
        [Program([*command, "--port={port}", "--workers=1"], "/ping", folder, path)],
        "/invocations",
        lambda rows: {"dataframe_split": {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}},
        lambda answer: answer["predictions"][0][1],
    )


def bentoml(folder: Path, binaries: Path, path: dict[str, str]) -> System:
    """A BentoML service."""
    command = [str(binaries / "bentoml"), "serve", "bento:Risk", "--working-dir", str(HERE), "--port={port}"]
    return System(
        "BentoML",
        [Program(command, "/readyz", folder, path | {"MODEL": str(folder / "model.joblib")})],
        "/predict",
        lambda rows: {"rows": [list(row.values()) for row in rows]},
        lambda answer: answer[0][1],
    )


def peers_venv() -> Path:
    """Return the folder of programs of an environment made from the peers' lock."""
    venv = ROOT / ".tools" / "serving-peers"
    stamp = venv / "lock"
    if not stamp.exists() or stamp.read_text() != LOCK.read_text():
        print(f"installing the other servers into {venv.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        install = [str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*install, "--requirement", str(LOCK)], check=True)
        stamp.write_text(LOCK.read_text())
    return venv / "bin"
