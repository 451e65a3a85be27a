"""The commands about a version's way: `sign`, `promote`, `deploy` and `retire` of `python -m healthrisk`."""

import argparse

from healthrisk.documents import Document
from healthrisk.errors import ConfigError


def add_versions(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands, each with a function `run` that does it and returns what to print."""
    sign = commands.add_parser("sign", help="sign a bundle that is stored, in place of who signed it before")
    sign.add_argument("bundle", help="where it lies: a folder, file:///FOLDER or s3://BUCKET/PREFIX")
    sign.set_defaults(run=_sign)
    promote = commands.add_parser("promote", help="carry a version on to the next site or environment, and prove it")
    promote.add_argument("version", help="its number in the registry that it is in")
    promote.add_argument("--from", dest="source", required=True, metavar="CONTEXT", help="where it is registered")
    promote.add_argument("--to", dest="target", required=True, metavar="CONTEXT", help="where it goes")
    promote.add_argument("--champion", action="store_true", help="make it the champion there, whoever is")
    promote.set_defaults(run=_promote)
    deploy = commands.add_parser(
        "deploy", help="serve the registry's champions on this pod's cluster, as after a restore"
    )
    deploy.add_argument("models", nargs="*", metavar="MODEL", help="whose champion (default: every model's)")
    deploy.add_argument("--namespace", default="healthrisk", help="where models are served (default: %(default)s)")
    deploy.set_defaults(run=_deploy)
    retire = commands.add_parser("retire", help="mark a version that is never to be served again")
    retire.add_argument("version", help="its number in the registry")
    retire.add_argument("--reason", required=True, help="why, for whoever asks for it")
    retire.set_defaults(run=_retire)
    for parser in (promote, retire):
        parser.add_argument("--dataset", default="heart-disease", help="whose version: a name, or the path of a spec")
        parser.add_argument(
            "--by", type=_person, default=None, help="who does it (default: USER@HOST, or a pod's account)"
        )


def _person(text: str) -> str:
    if not 0 < len(text.strip()) <= 200:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: expected 1 to 200 characters")
    return " ".join(text.split())


def _who(args: argparse.Namespace) -> str:
    from healthrisk.records import actor

    return args.by or actor.current()


def _sign(args: argparse.Namespace) -> str:
    from healthrisk.bundle import store
    from healthrisk.bundle.signing_keys import SIGNING_KEY
    from healthrisk.config import settings

    if not (key := settings().bundle_signing_key):
        raise ConfigError(f"{SIGNING_KEY} is not set: expected a private key in PEM, or its path")
    signed = store.sign(args.bundle, key)
    return f"signed    {signed.spec.name} {signed.version}"


def _promote(args: argparse.Namespace) -> Document:
    from healthrisk.registry import promotion
    from healthrisk.spec import name_of

    model, who = name_of(args.dataset), _who(args)
    return promotion.promote(model, args.version, args.source, args.target, who, champion=args.champion)


def _deploy(args: argparse.Namespace) -> str:
    from healthrisk.deployment import champions
    from healthrisk.deployment.kubernetes_cluster import KubernetesCluster

    cluster = KubernetesCluster(args.namespace)
    said = list(champions.serve(cluster, lambda name: f"http://{name}-transformer.{args.namespace}", args.models))
    return "\n".join(said) or "the registry knows no champion"


def _retire(args: argparse.Namespace) -> Document:
    from healthrisk.registry import retirement
    from healthrisk.spec import name_of

    return retirement.retire(name_of(args.dataset), args.version, args.reason, _who(args))
