"""A server's command line: kserve's own arguments, which KServe injects in a cluster, and ours. All are checked before
anything listens.
"""

import argparse
import dataclasses
import re
import resource

import kserve.model_server

from healthrisk import processes
from healthrisk.errors import ConfigError
from healthrisk.serving.admission import Limits

# kserve's own default is ten minutes, which is no answer to a clinician.
PREDICTOR_SECONDS = 5
METRICS_PORT = 8082
METRICS_CONNECTIONS = 64
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
# Descriptors for the process itself, its libraries, and whoever reads the metrics.
_OWN_DESCRIPTORS = 64 + METRICS_CONNECTIONS
# A gRPC connection takes one for the client, and two that connect it with gRPC's server.
_GRPC_DESCRIPTORS = 3
_LEAST_DESCRIPTORS = 256


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        parents=[kserve.model_server.parser], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.set_defaults(predictor_request_timeout_seconds=PREDICTOR_SECONDS, model_name="")
    parser.add_argument("--bundle", required=True, help="The bundle: a folder, file:///FOLDER or s3://BUCKET/PREFIX.")
    parser.add_argument("--digest", help="The digest that the bundle must have.")
    parser.add_argument("--public_name", default="", help="What callers call the model, where not by --model_name.")
    parser.add_argument("--host", default="0.0.0.0", help="The address to listen on.")  # noqa: S104 - a pod's own
    parser.add_argument("--compared_bundle", help="The bundle of a version to compare with in silence: a folder.")
    parser.add_argument("--compared_digest", help="The digest that this bundle must have; if empty, there is none.")
    parser.add_argument("--compared_host", help="HOST:PORT of that version's own predictor.")
    parser.add_argument("--metrics_port", default=METRICS_PORT, type=int, help="Where Prometheus reads /metrics.")
    parser.add_argument(
        "--log_level", default="info", choices=["debug", "info", "warning", "error"], help="What to log."
    )
    for limit in dataclasses.fields(Limits):
        parser.add_argument(
            f"--{limit.name}", default=limit.default, type=type(limit.default), help="A limit of this server."
        )
    return parser.parse_args()


def check(args: argparse.Namespace) -> Limits:
    """Return the limits that the arguments set, within the descriptors that this process may open.

    Raises:
        ConfigError: an argument has a value that this server cannot have, or a port is taken.
    """
    if args.workers != 1:
        raise ConfigError(f"--workers {args.workers}: this server is one process, expected 1; run more replicas")
    if not (seconds := args.predictor_request_timeout_seconds) > 0:
        raise ConfigError(f"--predictor_request_timeout_seconds {seconds}: expected more than 0")
    _check_hops(args)
    given = {limit.name: getattr(args, limit.name) for limit in dataclasses.fields(Limits)}
    for name, value in given.items():
        least = 0 if name in {"drain_seconds", "max_in_flight"} else 1 if isinstance(value, int) else 0.001
        if not least <= value < float("inf"):
            raise ConfigError(f"--{name} {value}: expected at least {least}")
    ports = [args.http_port, args.metrics_port, *([args.grpc_port] if args.enable_grpc else [])]
    if len(set(ports)) < len(ports):
        raise ConfigError(f"ports {', '.join(map(str, ports))}: expected a different one each")
    for port in ports:
        processes.require_free_ports(args.host, port)
    return fit_descriptors(Limits(**given), _allowed_descriptors())


def _check_hops(args: argparse.Namespace) -> None:
    for option in ("predictor_host", "compared_host"):
        if authority := getattr(args, option):
            _check_authority(option, authority)
    for option, other in (("compared_bundle", "compared_host"), ("compared_host", "compared_bundle")):
        if getattr(args, option) and not getattr(args, other):
            raise ConfigError(f"--{other} is missing: a silent trial takes a bundle and its predictor")


def _check_authority(option: str, authority: str) -> None:
    match = _AUTHORITY.fullmatch(authority)
    if match is None or not 0 < int(match["port"] or 80) < 2**16:
        raise ConfigError(f"--{option} {authority!r}: expected HOST or HOST:PORT of the predictor")


def _allowed_descriptors() -> int:
    """Let this process open as many descriptors as it may, and return how many these are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 2**20


def fit_descriptors(limits: Limits, descriptors: int) -> Limits:
    """Return limits of connections for which there are descriptors, so that gRPC's leave enough for REST's.

    Raises:
        ConfigError: there are too few to serve at all.
    """
    if descriptors < _LEAST_DESCRIPTORS:
        raise ConfigError(f"{descriptors} open files are allowed (ulimit -n), expected at least {_LEAST_DESCRIPTORS}")
    spare = descriptors - _OWN_DESCRIPTORS
    grpc = min(limits.max_grpc_connections, spare // (2 * _GRPC_DESCRIPTORS))
    rest = min(limits.max_connections, spare - grpc * _GRPC_DESCRIPTORS)
    return dataclasses.replace(limits, max_connections=rest, max_grpc_connections=grpc)
