"""Serve a bundle on this machine: `python kserve/serve.py [--dataset NAME] [--bundle ADDRESS] [--port N]`.

Starts predictor, transformer and explainer as a cluster would, from one verified bundle, and where a key signs receipts
the service that takes outcomes; ends them when told to stop. Other arguments go to the model's servers.
"""

import argparse
import signal
import sys
from pathlib import Path

from healthrisk import processes
from healthrisk.config import settings
from healthrisk.deployment import local
from healthrisk.errors import HealthriskError
from healthrisk.registry.lookup import find_bundle


def main() -> int:
    """Serve until asked to stop. Returns the exit code."""
    args, server_arguments = _arguments()
    where = local.Address(args.host, args.port)
    try:
        # Before MLflow is imported and a bundle fetched, which takes seconds.
        processes.require_free_ports(where.host, where.port, local.PORTS)
        cache = settings().home / "cache"
        bundle = find_bundle(args.bundle, args.dataset, cache)
        # A stop is an exception from here on, wherever it arrives.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        scripts = Path(__file__).resolve().parent
        tried = find_bundle(args.challenger, args.dataset, cache) if args.challenger else None
        keyed = bool(settings().receipt_keys)
        servers = local.served(
            bundle, where, scripts, server_arguments, explain=args.explain, outcomes=keyed, challenger=tried
        )
        with servers as started:
            print(local.describe(bundle, where, outcomes=keyed, challenger=tried), flush=True)
            local.wait_for_an_end(started)
    except HealthriskError as error:
        sys.stderr.write(f"serve.py: {error}\n")
        return 1
    except KeyboardInterrupt:
        # Asked to stop, as whoever starts it does at some time; what had been started has ended with `served`.
        return 0
    return 0


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    """Return the arguments, and those that are meant for the servers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--dataset",
        default="heart-disease",
        help="whose champion to serve: a name, or the path of a spec (default: %(default)s)",
    )
    parser.add_argument("--bundle", help="serve this bundle instead: a folder, file:///FOLDER or s3://BUCKET/PREFIX")
    parser.add_argument(
        "--challenger", help="try this bundle in silence beside it: a folder, file:///FOLDER or s3://BUCKET/PREFIX"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="first of twelve ports (default: %(default)s)")
    parser.add_argument(
        "--explain", action=argparse.BooleanOptionalAction, default=True, help="start an explainer, too (default: yes)"
    )
    return parser.parse_known_args()


if __name__ == "__main__":
    sys.exit(main())
