"""The main job in one command: train on the shipped data, serve the winner, ask it, and say what happened.

python pipelines/first_run.py [--port N]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from healthrisk import processes
from healthrisk import spec as specs
from healthrisk.bundle import Bundle
from healthrisk.config import settings
from healthrisk.deployment import local
from healthrisk.errors import HealthriskError
from healthrisk.processes import command
from healthrisk.registry.lookup import find_bundle

SCRIPTS = Path(__file__).parents[1] / "kserve"


class ServingError(HealthriskError):
    """The servers did not come up, or did not answer as they should."""


def main() -> int:
    """Run the main job; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="the transformer's REST port; seven more follow it")
    port = parser.parse_args().port
    # Before a minute of training, not after it.
    processes.require_free_ports("127.0.0.1", port, local.PORTS)
    spec = specs.load("heart-disease")
    import local_runner

    folder = local_runner.run(spec.to_json(), "", 0, settings().evidence)
    print("serving the champion", flush=True)
    bundle = find_bundle(None, spec.name, settings().home / "cache")
    with _served(bundle, port) as url:
        request, response, offline = _ask(bundle, url, folder / "preprocess" / "test")
    import summary

    print(summary.of_run(spec, folder))
    print(_exchange(url, request, response, offline))
    return 0


@contextmanager
def _served(bundle: Bundle, port: int) -> Iterator[str]:
    """Serve a bundle and yield its infer address; end the servers afterwards."""
    where = local.Address("127.0.0.1", port)
    with tempfile.TemporaryFile("w+") as output:
        try:
            with local.served(bundle, where, SCRIPTS, output=output):
                yield f"{where.url()}/v2/models/{bundle.spec.name}/infer"
        except local.LocalServingError as error:
            output.seek(0)
            lines = output.read().strip().splitlines()
            raise ServingError(f"{error}: {lines[-1] if lines else 'it printed nothing'}") from error


def _ask(bundle: Bundle, url: str, held_out: Path) -> tuple[dict[str, Any], dict[str, Any], list[float]]:
    """Send the first patient of the hold-out; return the request, the response and the offline probabilities."""
    # Only now: scikit-learn would otherwise lie in memory while the steps run.
    from healthrisk.data import encoding
    from healthrisk.inference.scorer import Scorer
    from healthrisk.training.split import read_split

    spec = bundle.spec
    patient = read_split(spec, held_out)[0][:1]
    (row,) = encoding.decode(spec, patient)
    tensors = [
        {"name": column.name, "shape": [1], "datatype": "BYTES" if column.is_text else "FP64", "data": [value]}
        for column, value in zip(spec.columns, row, strict=True)
    ]
    request = {"inputs": tensors}
    answer = httpx.post(url, json=request, timeout=60)
    if answer.status_code != httpx.codes.OK:
        raise ServingError(f"{url} answered {answer.status_code}: {answer.text}")
    if (version := answer.json()["model_version"]) != bundle.version:
        raise ServingError(f"{url} answered with version {version!r}, expected the champion {bundle.version!r}")
    offline = Scorer(bundle).probabilities(patient)[0]
    return request, answer.json(), [float(value) for value in offline]


def _exchange(url: str, request: dict[str, Any], response: dict[str, Any], offline: list[float]) -> str:
    row = {tensor["name"]: tensor["data"][0] for tensor in request["inputs"]}
    answer = {tensor["name"]: tensor["data"] for tensor in response["outputs"]}
    return "\n".join(
        [
            "",
            f"POST {url}",
            f"asked     {json.dumps(row)}",
            f"served    {json.dumps(answer)}",
            f"offline   {json.dumps({'probability': offline})}",
            "",
            "next      make serve    serve the champion on this machine",
            "          make mlflow   browse runs, plots and versions",
        ]
    )


if __name__ == "__main__":
    sys.exit(command(main))
