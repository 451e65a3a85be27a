"""The main job in one command: train on the shipped data, serve the winner, ask it, and say what happened.

python pipelines/first_run.py [--port N]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from healthrisk import processes
from healthrisk import spec as specs
from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.deployment import local
from healthrisk.errors import HealthriskError
from healthrisk.processes import command
from healthrisk.registry.lookup import find_bundle
from healthrisk.registry.registration import Registration

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
    import summary
    from healthrisk.steps import forked

    folder = local_runner.run(spec.to_json(), "", 0, settings().evidence)
    print("serving the champion", flush=True)
    bundle = _champion(folder)
    with ThreadPoolExecutor(1) as beside:
        # While the servers start.
        text = beside.submit(forked.call, summary.of_run, spec, folder)
        with _served(bundle, port) as url:
            exchange = forked.call(_ask, bundle, url, folder / "preprocess" / "test")
    print(text.result())
    print(exchange)
    return 0


def _champion(folder: Path) -> Bundle:
    """Return the champion's bundle after a run: the run's own, unless the one before stays."""
    registration, cache = Registration.read(folder / "register" / "registration"), settings().home / "cache"
    if registration.alias != "champion":
        return find_bundle(None, registration.name, cache)
    # The registry need not be asked, for which MLflow would be imported.
    return store.fetch(registration.bundle, registration.digest, cache)


@contextmanager
def _served(bundle: Bundle, port: int) -> Iterator[str]:
    """Serve a bundle and yield its infer address; end the servers afterwards."""
    where = local.Address("127.0.0.1", port)
    with tempfile.TemporaryFile("w+") as output:
        try:
            with local.served(bundle, where, SCRIPTS, output=output, alone=True):
                yield f"{where.url()}/v2/models/{bundle.spec.name}/infer"
        except local.LocalServingError as error:
            output.seek(0)
            lines = output.read().strip().splitlines()
            raise ServingError(f"{error}: {lines[-1] if lines else 'it printed nothing'}") from error


@dataclass(frozen=True)
class Exchange:
    """One patient's values by feature, the served outputs by name, and the probabilities computed offline."""

    url: str
    values: dict[str, float | str | None]
    served: dict[str, list[float | str]]
    offline: list[float]

    def __str__(self) -> str:
        """Show it, and what can be done next."""
        return "\n".join(
            [
                "",
                f"POST {self.url}",
                f"asked     {json.dumps(self.values)}",
                f"served    {json.dumps(self.served)}",
                f"offline   {json.dumps({'probability': self.offline})}",
                "",
                "next      make serve    serve the champion on this machine",
                "          make mlflow   browse runs, plots and versions",
            ]
        )


def _ask(bundle: Bundle, url: str, held_out: Path) -> Exchange:
    """Send the first patient of the hold-out."""
    # Heavy: it is called in a forked process, which has most of them.
    import httpx

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
    response = httpx.post(url, json={"inputs": tensors}, timeout=60)
    if response.status_code != httpx.codes.OK:
        raise ServingError(f"{url} answered {response.status_code}: {response.text}")
    answer = response.json()
    if (version := answer["model_version"]) != bundle.version:
        raise ServingError(f"{url} answered with version {version!r}, expected the champion {bundle.version!r}")
    return Exchange(
        url,
        dict(zip(spec.features, row, strict=True)),
        {tensor["name"]: tensor["data"] for tensor in answer["outputs"]},
        [float(value) for value in Scorer(bundle).probabilities(patient)[0]],
    )


if __name__ == "__main__":
    sys.exit(command(main))
