"""Train on a data set: here by default, on Kubeflow Pipelines with --submit.

python pipelines/train_pipeline.py [--dataset NAME|PATH.yaml] [--data FILE] [--seed N] [--rollout]
    [--override-gate REASON]
python pipelines/train_pipeline.py --submit [--host URL] [--no-wait] [--schedule CRON] [--cancel RUN]
"""

import argparse
import sys
from pathlib import Path

from healthrisk import spec as specs
from healthrisk.config import LEVELS, settings
from healthrisk.deployment.rollout_plan import Plan
from healthrisk.errors import ConfigError
from healthrisk.processes import command
from healthrisk.training.override import read_reason

GOLDEN = Path(__file__).with_name("training.yaml")


def main() -> int:
    """Do what the command line says; return the exit code."""
    arguments = _parser().parse_args()
    if arguments.override_gate is not None:
        arguments.override_gate = read_reason(arguments.override_gate)
    if arguments.compile:
        if arguments.override_gate:
            raise ConfigError(
                "--override-gate is for one run that somebody has looked at, and --compile writes what any number "
                "start from: give it with --submit, or to that run as its input override_gate"
            )
        from kfp import compiler

        from cluster_pipeline import training

        compiler.Compiler().compile(training, str(arguments.compile))
        print(f"wrote {arguments.compile}")
        return 0
    spec = specs.load(arguments.dataset)
    if arguments.submit:
        import submit

        return submit.submit(spec, arguments)
    import local_runner
    import summary
    from healthrisk.steps import forked

    data = _absolute(spec, arguments.data)
    given = arguments.evidence, arguments.rollout, arguments.override_gate or ""
    folder = local_runner.run(spec.to_json(), data, arguments.seed, *given)
    print(forked.call(summary.of_run, spec, folder))
    return 0


def _seed(text: str) -> int:
    """Read a seed, which numpy and scikit-learn want within 32 bits."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed, expected a whole number from 0 to {2**32 - 1}")
    return int(text)


def _weights(text: str) -> str:
    """Read a rollout's weights; none, as by default, are no rollout."""
    try:
        if text:
            Plan.of(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _yaml(text: str) -> Path:
    """Read the name of a file that kfp will write."""
    path = Path(text)
    if path.suffix not in {".yaml", ".yml"}:
        raise argparse.ArgumentTypeError(f"{text!r} must end in .yaml")
    return path


def _absolute(spec: specs.DatasetSpec, data: str) -> str:
    """A path is resolved here, where the user stands, not where a step runs; addresses and sources' names stay."""
    names = {source.name for source in (*spec.sources, *spec.external)}
    return data if not data or "://" in data or data in names else str(Path(data).absolute())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--dataset", default="heart-disease", help="a shipped spec's name, or the path of a spec's YAML file"
    )
    parser.add_argument(
        "--data",
        default="",
        help="a file, folder or address of the spec's schema, or one of the spec's sources by name",
    )
    parser.add_argument("--seed", type=_seed, default=0, help="the seed of the split, the folds and the models")
    parser.add_argument(
        "--evidence",
        default=settings().evidence,
        choices=LEVELS,
        help="quick, or full: with nested cross-validation, robustness and downloads (default: EVIDENCE, or quick)",
    )
    parser.add_argument(
        "--rollout",
        nargs="?",
        type=_weights,
        const="1,10,50,100",
        default="",
        metavar="WEIGHTS",
        help="a better version takes no champion's place: it comes in by these percents of requests (%(const)s)",
    )
    parser.add_argument(
        "--override-gate",
        nargs="?",
        const="",
        metavar="REASON",
        help="register the winner although a gate fails: the reason goes into the record, the report and the registry",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--compile", nargs="?", type=_yaml, const=GOLDEN, metavar="FILE", help="write the pipeline as YAML"
    )
    what.add_argument("--submit", action="store_true", help="run on Kubeflow Pipelines")
    _add_submit_arguments(parser.add_argument_group("with --submit"))
    return parser


def _add_submit_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--host", default="", help="Kubeflow Pipelines' address; else KF_PIPELINES_ENDPOINT, else --context"
    )
    group.add_argument("--context", default="", help="without a host: its cluster's kube context; else the current one")
    group.add_argument("--experiment", default="", help="the experiment that holds the run; else the data set's name")
    group.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True, help="follow the run to its end")
    group.add_argument("--timeout", type=float, default=7200, metavar="SECONDS", help="how long to follow it")
    group.add_argument("--schedule", default="", metavar="CRON", help="retrain at these times (KFP's: with seconds)")
    group.add_argument("--cancel", default="", metavar="RUN", help="stop a run")


if __name__ == "__main__":
    sys.exit(command(main))
