"""The commands of a rollout: `start`, `status`, `step`, `promote` and `abort` of `python -m healthrisk rollout`."""

import argparse
from typing import TYPE_CHECKING

from healthrisk.documents import Document

if TYPE_CHECKING:
    from healthrisk.deployment.cluster import Cluster
    from healthrisk.deployment.rollout_status import RolloutStatus

# Of `step`, for whoever asks in a script: the challenger was sent back.
_RETURNED = 3


def add_rollout(parser: argparse.ArgumentParser) -> None:
    """Add the actions, each with a function `run` that does it and returns what to print."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    start = actions.add_parser("start", help="give the version served beside the champion its first weight")
    start.add_argument("version", help="the version's number in the registry")
    _add_place(start)
    start.add_argument("--weights", default="1,10,50,100", help="percent of requests, one after another (%(default)s)")
    start.add_argument(
        "--hold_seconds", type=float, default=600.0, metavar="SECONDS", help="each at least (%(default)s)"
    )
    start.add_argument("--requests", type=int, default=100, help="that each must have answered (%(default)s)")
    start.add_argument("--failed", type=float, default=0.001, help="share that may fail (%(default)s)")
    start.add_argument("--slow", type=float, default=0.01, help="share that may take over 200 ms (%(default)s)")
    start.add_argument("--sticky", default="", metavar="HEADER", help="whose last two hex digits tell callers apart")
    start.set_defaults(run=_start)
    status = actions.add_parser("status", help="where a rollout stands; of a silent trial agreement and failures")
    status.add_argument("page", nargs="*", help="of a silent trial: each transformer's http://HOST:PORT/metrics")
    _add_watched(status, required=False)
    status.set_defaults(run=_status)
    step = actions.add_parser("step", help="the next weight, if what is seen allows it, or back")
    _add_watched(step)
    step.add_argument("--wait", action="store_true", help="go on until all requests are the challenger's, or none is")
    step.set_defaults(run=_step)
    promote = actions.add_parser("promote", help="make the challenger, which has all requests, the champion")
    _add_watched(promote)
    promote.add_argument("--url", help="the champion's transformer (default: http://NAME-transformer.NAMESPACE)")
    promote.set_defaults(run=_promote)
    abort = actions.add_parser("abort", help="give the champion all requests again")
    _add_place(abort)
    abort.set_defaults(run=_abort)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="heart-disease", help="whose model: a name, or the path of a spec")
    parser.add_argument("--context", help="the kube context (default: a pod's own cluster, else the current one)")
    parser.add_argument("--namespace", default="healthrisk", help="where models are served (%(default)s)")


def _add_watched(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    _add_place(parser)
    parser.add_argument("--prometheus", required=required, metavar="URL", help="who counts answers: http://HOST:PORT")


def _start(args: argparse.Namespace) -> Document:
    from healthrisk.deployment import rollout
    from healthrisk.deployment.rollout_plan import Plan

    limits = {name: getattr(args, name) for name in ("sticky", "hold_seconds", "requests", "failed", "slow")}
    plan = Plan.of(args.weights, **limits)
    return rollout.start(*_site(args), args.version, plan)


def _status(args: argparse.Namespace) -> Document:
    if args.page:
        from healthrisk.monitoring import trial_status

        return trial_status.read(args.page)
    from healthrisk.deployment import rollout
    from healthrisk.deployment.rollout_gates import PrometheusGates

    cluster, model = _site(args)
    if not args.prometheus:
        return rollout.look(cluster, model, None)
    gates = PrometheusGates(args.prometheus)
    status = rollout.look(cluster, model, gates)
    return status.model_copy(update={"agreement": gates.agreement(model, status.rollout)})


def _step(args: argparse.Namespace) -> Document:
    from healthrisk.deployment import rollout
    from healthrisk.deployment.rollout_gates import PrometheusGates
    from healthrisk.deployment.rollout_waiting import step_until_over

    cluster, model = _site(args)

    def look() -> "RolloutStatus":
        return rollout.step(cluster, model, PrometheusGates(args.prometheus))

    status = step_until_over(look) if args.wait else look()
    if status.rollout.phase == "returned":
        args.exit_code = _RETURNED
    return status


def _promote(args: argparse.Namespace) -> Document:
    from healthrisk.deployment import rollout
    from healthrisk.deployment.rollout_gates import PrometheusGates

    cluster, model = _site(args)
    url = args.url or f"http://{model}-transformer.{args.namespace}"
    return rollout.promote(cluster, model, PrometheusGates(args.prometheus), url)


def _abort(args: argparse.Namespace) -> Document:
    from healthrisk.deployment import rollout

    return rollout.abort(*_site(args))


def _site(args: argparse.Namespace) -> "tuple[Cluster, str]":
    """Return the cluster that is meant, which says who acts on it, and the model's name."""
    from healthrisk.deployment.kubernetes_cluster import KubernetesCluster
    from healthrisk.records import actor
    from healthrisk.spec import name_of

    model = name_of(args.dataset)
    cluster = KubernetesCluster(args.namespace, args.context)
    actor.known_as(cluster.user())
    return cluster, model
