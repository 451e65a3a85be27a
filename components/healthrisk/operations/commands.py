"""The commands of those who run the platform: `alerts`, `backup`, `restore` and `records` of `python -m healthrisk`."""

import argparse
import datetime
from pathlib import Path

from healthrisk.config import settings
from healthrisk.operations.record_commands import add_records


def add_operations(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands, each with a function `run` that does it and returns what to print."""
    _add_alerts(commands.add_parser("alerts", help="who is told of an alert, and the log of what was told"))
    _add_backup(commands.add_parser("backup", help="back up HEALTHRISK_HOME, or a cluster's databases and buckets"))
    _add_restore(commands.add_parser("restore", help="put back what was backed up"))
    add_records(commands.add_parser("records", help="the record of use: carry it away, verify it, find in it"))


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def _add_alerts(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    routes = actions.add_parser("routes", help="write Alertmanager's configuration")
    routes.add_argument("--receivers", type=Path, required=True, help="the folder with a file for each value")
    routes.add_argument("--log", required=True, metavar="URL", help="who writes every message down: the action log")
    routes.add_argument("--out", type=Path, required=True, help="where the configuration goes")
    routes.set_defaults(run=_alert_routes)
    log = actions.add_parser("log", help="write down what Alertmanager says, and raise an alarm where nobody watches")
    log.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    log.add_argument("--port", type=_count, default=9094, help="where messages come in (default: %(default)s)")
    log.add_argument("--alertmanager", required=True, metavar="URL", help="who takes the alarm: http://HOST:PORT")
    log.add_argument("--silence", type=float, default=300.0, help="seconds without the watchdog (%(default)s)")
    log.set_defaults(run=_alert_log)


def _alert_routes(args: argparse.Namespace) -> str:
    import yaml

    from healthrisk import atomic
    from healthrisk.operations import receivers, routes

    known = receivers.read(args.receivers)
    atomic.write_text(args.out, yaml.safe_dump(routes.config(known, args.log), sort_keys=False))
    return f"wrote {args.out}"


def _alert_log(args: argparse.Namespace) -> str:
    from healthrisk import processes
    from healthrisk.operations import message_log

    processes.require_free_ports(args.host, args.port)
    message_log.serve(args.host, args.port, args.alertmanager, datetime.timedelta(seconds=args.silence))
    return "stopped"


def _add_backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, required=True, help="the folder that holds backups: each is a folder in it")
    parser.add_argument("--keep", type=_count, default=0, help="remove all but so many (default: keep all)")
    parser.add_argument("--dumps", type=Path, help="of a cluster: the folder with its databases' dumps, just written")
    parser.add_argument("--buckets", nargs="+", default=[], metavar="NAME", help="of a cluster: its buckets")
    parser.add_argument("--push", metavar="URL", help="the push gateway that is told when it was made")
    parser.set_defaults(run=_backup)


def _backup(args: argparse.Namespace) -> str:
    from healthrisk.operations import cluster_backup, freshness, home_backup

    if args.dumps:
        saved = cluster_backup.save(args.to, args.dumps, args.buckets, args.keep)
    else:
        saved = home_backup.save(settings().home, args.to, args.keep)
    if args.push:
        freshness.push(args.push, "backup")
    return f"backup    {saved}"


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("backup", type=Path, help="the backup's folder; of a folder of backups the newest")
    parser.add_argument("--dumps", type=Path, help="of a cluster: where its databases' dumps go")
    parser.set_defaults(run=_restore)


def _restore(args: argparse.Namespace) -> str:
    from healthrisk.operations import backup, cluster_backup, home_backup

    saved = (backup.listed(args.backup) or [args.backup])[-1]
    if args.dumps:
        done = cluster_backup.restore(saved, args.dumps)
        said = f"restored  {done.objects} objects of {saved}, and dumps into {args.dumps}"
        if done.unlocked:
            said += f"\nunlocked  {done.unlocked} of them were locked, and the buckets they are in now have no locks"
        return said
    home_backup.restore(saved, settings().home)
    return f"restored  {saved} to {settings().home}"
