"""Two versions of heart disease, served and registered: the champion, and another one as champion and as challenger."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.deployment.cluster import Deployed, challenger_name
from healthrisk.registry import versions
from tests.support.servers import PATIENT, Pair, Server, free_ports

NAME = "heart-disease"


@contextmanager
def served(bundles: Sequence[Bundle], folder: Path) -> Iterator[dict[str, Pair]]:
    """Serve the first and the second under the model's name, and the second as its challenger, `beside`."""
    pairs = dict[str, Pair]()
    try:
        for key, bundle, name in (
            ("first", bundles[0], NAME),
            ("second", bundles[1], NAME),
            ("beside", bundles[1], challenger_name(NAME)),
        ):
            pairs[key] = start(bundle, name, folder / key, compared=pairs["first"] if key == "beside" else None)
            pairs[key].wait()
        yield pairs
    finally:
        for pair in pairs.values():
            pair.end()


def start(
    bundle: Bundle,
    name: str,
    log: Path,
    ports: list[int] | None = None,
    compared: Pair | None = None,
    **environment: str,
) -> Pair:
    """Start a version's predictor and transformer under the name of an inference service.

    Callers know both by the model's name; `ports` are the transformer's, and the logs' names begin with `log`. Its
    answers are compared with those of the predictor of `compared`, where there is one.
    """
    options = (f"--model_name={name}", *PATIENT)
    predictor = Server("predictor.py", bundle.path, log.with_name(f"{log.name}-predictor"), options).fork()
    options += (f"--public_name={NAME}", f"--predictor_host=127.0.0.1:{predictor.ports[0]}")
    if compared:
        options += (f"--compared_bundle={compared.bundle.path}", f"--compared_digest={compared.bundle.digest}")
        options += (f"--compared_host=127.0.0.1:{compared.predictor.ports[0]}",)
    place = log.with_name(f"{log.name}-transformer")
    transformer = Server("transformer.py", bundle.path, place, options, environment, ports or free_ports(3)).fork()
    return Pair(transformer, predictor, bundle)


def register(bundles: Sequence[Bundle]) -> list[Deployed]:
    """Store and register bundles as versions 1, 2 and so on, the last of them as champion."""
    made, server = [], versions.client()
    server.create_registered_model(NAME)
    for bundle in bundles:
        uri = store.put(bundle, settings().bundles)
        tags = {"uri": uri, "digest": bundle.digest, "family": "x", "metric": "roc_auc", "score": "1"}
        number = str(server.create_model_version(NAME, source=uri, tags=tags).version)
        server.set_registered_model_alias(NAME, versions.CHAMPION, number)
        made.append(Deployed(number, uri, bundle.digest))
    return made
