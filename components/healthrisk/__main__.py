"""The command line: `python -m healthrisk predict FILE --out FILE`, `drift --reference BUNDLE FILE` and `watch`."""

import argparse
import re
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from healthrisk.deployment.rollout_commands import add_rollout
from healthrisk.deployment.version_commands import add_versions
from healthrisk.documents import Document
from healthrisk.errors import ConfigError, HealthriskError
from healthrisk.operations.commands import add_operations

# For whoever asks in a script: something has drifted, or an outcome was refused. 1 says that it could not be told or
# done, 2 that the call was wrong.
_NOTICED = 3


def main() -> int:
    """Run a command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="healthrisk", description="Score tables with a trained model; watch them.")
    parser.set_defaults(exit_code=0)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_predict(commands.add_parser("predict", help="score every row of a CSV or Parquet file, or of a folder"))
    _add_drift(commands.add_parser("drift", help="compare a table, or live traffic, with a bundle's reference"))
    _add_spec(commands.add_parser("spec", help="write a commented first spec of a table"))
    _add_hospital(commands.add_parser("hospital", help="write an invented hospital table, to learn with"))
    _add_watch(commands.add_parser("watch", help="push the drift of what is served; retrain where alerts ask"))
    _add_outcomes(commands.add_parser("outcomes", help="count what became of patients, by their predictions' receipts"))
    _add_outcome_service(commands.add_parser("outcome-service", help="take outcomes over HTTP, and show what they say"))
    add_rollout(commands.add_parser("rollout", help="bring the next version in: tried in silence, by weights, or back"))
    _add_performance(commands.add_parser("performance", help="what outcomes say of each version, and the alarm"))
    add_versions(commands)
    add_operations(commands)
    args = parser.parse_args()
    try:
        result: Document | str = args.run(args)
        text = result.model_dump_json(indent=1, exclude_unset=True) if isinstance(result, Document) else result
        sys.stdout.write(f"{text}\n")
    except HealthriskError as error:
        sys.stderr.write(f"healthrisk: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    exit_code: int = args.exit_code
    return exit_code


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=Path, help="the table: FILE.csv or FILE.parquet, with a header")
    parser.add_argument("--target", required=True, metavar="NAME", help="the column with the outcome")
    parser.add_argument("--name", help="the data set's name: small letters, digits and hyphens (default: the file's)")
    parser.add_argument("--out", type=Path, help="where the spec goes (default: NAME.yaml)")
    parser.set_defaults(run=_spec)


def _spec(args: argparse.Namespace) -> Document:
    from healthrisk import atomic
    from healthrisk.data.draft import Drafted, draft
    from healthrisk.errors import SpecError

    name = args.name or re.sub(r"[^a-z0-9]+", "-", args.table.stem.lower()).strip("-")
    out = args.out or Path(f"{name}.yaml")
    if out.exists():
        raise SpecError(f"{out} is there already: give another place with --out")
    atomic.write_text(out, draft(args.table, args.target, name))
    return Drafted(spec=out, next=f"read and correct it, then train with --dataset {out} --data {args.table}")


def _add_hospital(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, help="where the table goes: FILE.csv or FILE.parquet")
    parser.add_argument("--rows", type=_positive, default=100_000, help="visits (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another table")
    parser.set_defaults(run=_hospital)


def _hospital(args: argparse.Namespace) -> Document:
    from healthrisk.data.hospital import WrittenTable, write_table

    write_table(args.out, args.rows, args.seed)
    return WrittenTable(table=args.out, rows=args.rows)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="the table: FILE.csv, FILE.parquet, or a folder or s3://BUCKET/PREFIX/ of such")
    parser.add_argument(
        "--out", required=True, help="where rows go with their predictions: .csv, .parquet, or a folder for a folder"
    )
    parser.add_argument(
        "--dataset",
        default="heart-disease",
        help="whose champion to use, or the spec behind --url: a name, or the path of a spec",
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--bundle", help="use this bundle: a folder, file:///FOLDER or s3://BUCKET/PREFIX")
    model.add_argument("--url", help="ask a served model at http://HOST:PORT instead")
    parser.add_argument("--rejects", type=Path, help="where bad rows go with reasons (default: beside --out)")
    parser.add_argument("--strict", action="store_true", help="stop at the first bad row")
    parser.add_argument("--batch-rows", type=_positive, help="rows scored at once")
    parser.add_argument("--threads", type=_positive, default=1, help="threads of the model")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=_predict)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _predict(args: argparse.Namespace) -> Document:
    from healthrisk import spec
    from healthrisk.data.fragments import is_folder
    from healthrisk.inference import batch

    if is_folder(args.file):
        return _predict_fragments(args)
    out = Path(args.out)
    rejects = args.rejects or out.with_name(f"{out.stem}.rejects.csv")
    rows = args.batch_rows or (batch.SERVED_ROWS if args.url else batch.BATCH_ROWS)
    job = batch.Job(Path(args.file), out, rejects, args.strict, rows, not args.quiet)
    if args.url:
        from healthrisk.serving.client import ServedModel

        chosen = spec.load(args.dataset)
        with closing(ServedModel(args.url, chosen)) as served:
            summary = batch.predict(job, chosen, served.probabilities)
        return summary.model_copy(update={"served": served.summary()})
    from healthrisk.inference.scorer import Scorer
    from healthrisk.registry.lookup import find_bundle

    with tempfile.TemporaryDirectory(prefix="healthrisk-bundle-") as cache:
        bundle = find_bundle(args.bundle, args.dataset, Path(cache))
        scorer = Scorer(bundle, args.threads)
    summary = batch.predict(job, bundle.spec, scorer.probabilities)
    return summary.model_copy(update={"version": bundle.version, "signature": bundle.signature})


def _predict_fragments(args: argparse.Namespace) -> Document:
    from healthrisk.inference import batch, fragments
    from healthrisk.registry.lookup import find_address

    if args.out.lower().endswith((".csv", ".parquet")):
        raise ConfigError(f"--out {args.out}: expected a folder, as {args.file} is one")
    if args.url or args.rejects:
        raise ConfigError(f"{'--url' if args.url else '--rejects'} is for a file, and {args.file} is a folder")
    bundle, digest = find_address(args.bundle, args.dataset)
    rows = args.batch_rows or batch.BATCH_ROWS
    # Workers of a cluster have other working directories.
    source, out = (path if "://" in path else str(Path(path).absolute()) for path in (args.file, args.out))
    job = fragments.FragmentedJob(source, out, bundle, digest, args.strict, rows, args.threads, not args.quiet)
    return fragments.predict_fragments(job)


def _add_drift(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "file", nargs="?", help="a table: .csv and .parquet with a header, a folder of such, or a spec's source"
    )
    what.add_argument("--prometheus", help="compare live traffic, as counted by the Prometheus at http://HOST:PORT")
    parser.add_argument("--reference", help="the bundle: a folder, file:///FOLDER or s3://BUCKET/PREFIX")
    parser.add_argument(
        "--dataset",
        default="heart-disease",
        help="whose champion to use without --reference: a name, or the path of a spec",
    )
    parser.add_argument("--model", help="the served model's name (default: the data set's)")
    parser.add_argument("--window", default="1d", help="how far to look back in Prometheus (default: %(default)s)")
    parser.add_argument("--exposition", type=Path, help="write gauges for Prometheus to this file, too")
    parser.set_defaults(run=_drift)


def _drift(args: argparse.Namespace) -> Document:
    from healthrisk.bundle import store
    from healthrisk.monitoring import drift, gauges, traffic
    from healthrisk.monitoring.table_counts import counts
    from healthrisk.registry.lookup import find_address

    with tempfile.TemporaryDirectory(prefix="healthrisk-bundle-") as cache:
        # A retired version's, too, where it is named: nobody is told a risk.
        address, digest = (args.reference, None) if args.reference else find_address(None, args.dataset)
        bundle = store.fetch(address, digest, Path(cache))
        model = args.model or bundle.spec.name
        if args.prometheus:
            current = traffic.counts(bundle, args.prometheus, model, args.window)
        else:
            current = counts(bundle, args.file, address)
        report = drift.compare(bundle.reference, current)
    if report.verdict != "stable":
        args.exit_code = _NOTICED
    if args.exposition:
        gauges.write(report, model, bundle.version, args.exposition)
    return drift.VersionDrift(**vars(report), refused_rows=current.refused_rows, version=bundle.version)


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prometheus", required=True, help="who is served, and with what traffic: http://HOST:PORT")
    parser.add_argument("--push", required=True, metavar="URL", help="the push gateway that takes the gauges")
    parser.add_argument(
        "--retrain",
        metavar="URL",
        help="Kubeflow Pipelines' API, to answer alerts that ask to retrain, and to tell of runs that failed",
    )
    parser.add_argument("--window", default="1d", help="how far to look back (default: %(default)s)")
    parser.set_defaults(run=_watch)


def _watch(args: argparse.Namespace) -> Document:
    from healthrisk.monitoring import drift_job, pipeline_runs

    done = drift_job.DriftJobSummary(drift=drift_job.push_drift(args.prometheus, args.push, args.window), retraining={})
    if not args.retrain:
        return done
    # First: a model without a schedule to retrain by is an error, which must not keep these from being told.
    failed = pipeline_runs.look(args.retrain, args.push)
    retraining = drift_job.trigger_retraining(args.prometheus, args.retrain)
    return done.model_copy(update={"failed": failed, "retraining": retraining})


def _add_outcomes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="FILE.csv or FILE.parquet: receipt, outcome and, if known, observed_at")
    parser.add_argument("--rejects", type=Path, help="where refused rows go with reasons (default: beside FILE)")
    parser.set_defaults(run=_outcomes)


def _outcomes(args: argparse.Namespace) -> Document:
    from healthrisk.monitoring.outcome_file import take_file
    from healthrisk.monitoring.outcomes import open_outcomes

    rejects = args.rejects or args.file.with_name(f"{args.file.stem}.rejects.csv")
    with open_outcomes() as outcomes:
        taken = take_file(outcomes.intake(), args.file, rejects)
    if taken.refused:
        args.exit_code = _NOTICED
    return taken


def _add_outcome_service(parser: argparse.ArgumentParser) -> None:
    # Other servers spell theirs so, as kserve does.
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen on")  # noqa: S104 - a pod's own
    parser.add_argument("--http_port", type=_positive, default=8080, help="where outcomes come in (%(default)s)")
    parser.add_argument("--metrics_port", type=_positive, default=8082, help="where /metrics is read (%(default)s)")
    parser.add_argument("--request_seconds", type=float, default=10.0, help="how long a request may take to come in")
    parser.add_argument("--answer_seconds", type=float, default=30.0, help="how long its outcomes may take to count")
    parser.add_argument("--drain_seconds", type=float, default=3.0, help="how long it answers on once told to stop")
    parser.add_argument("--assess_seconds", type=float, default=300.0, help="how often figures are computed anew")
    parser.add_argument("--prometheus", help="who knows what was served: http://HOST:PORT")
    parser.set_defaults(run=_outcome_service)


def _outcome_service(args: argparse.Namespace) -> str:
    from healthrisk.monitoring import outcome_service

    names = ("request_seconds", "answer_seconds", "drain_seconds", "assess_seconds", "prometheus")
    own = {name: getattr(args, name) for name in names}
    outcome_service.serve(outcome_service.Options(args.host, args.http_port, args.metrics_port, **own))
    return "stopped"


def _add_performance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", default="heart-disease", help="whose versions are meant: a name, or the path of a spec"
    )
    parser.add_argument("--table", action="store_true", help="print a table to read, instead of JSON with every figure")
    parser.add_argument("--report", type=Path, metavar="PAGE", help="put a section into this report of a version, too")
    parser.set_defaults(run=_performance)


def _performance(args: argparse.Namespace) -> Document | str:
    from healthrisk.monitoring.outcomes import open_outcomes
    from healthrisk.monitoring.performance_table import lines
    from healthrisk.spec import name_of

    with open_outcomes() as outcomes:
        performance = outcomes.assess(name_of(args.dataset))
    if args.report:
        from healthrisk.monitoring import live_section

        live_section.write(args.report, performance)
    return "\n".join(lines(performance)) if args.table else performance


if __name__ == "__main__":
    sys.exit(main())
