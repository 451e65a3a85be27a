"""The commands about the record of use: `python -m healthrisk records carry`, `verify`, `find` and `public-key`."""

import argparse
import datetime
import os
from pathlib import Path
from typing import get_args

from healthrisk.config import settings
from healthrisk.documents import Document
from healthrisk.errors import ConfigError
from healthrisk.records.lines import ActionEvent
from healthrisk.records.places import Place

# Six months of at most 31 days are 184 days: Regulation (EU) 2024/1689, Article 26(6).
KEEP_DAYS = 184.0
_SIGNING_KEY = "HEALTHRISK_RECORD_SIGNING_KEY"
# As of `drift`: 1 says that it could not be told, 2 that the call was wrong.
_AT_FAULT = 3


def add_records(parser: argparse.ArgumentParser) -> None:
    """Add the commands, each with a function `run` that does it and returns what to print."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_carry(actions.add_parser("carry", help="sign finished segments and take them to where they are kept"))
    _add_verify(actions.add_parser("verify", help="check chain, signatures and gaps; name the first place at fault"))
    _add_find(actions.add_parser("find", help="entries by input or receipt, or what was done by kind or version"))
    public = actions.add_parser("public-key", help=f"the public key of {_SIGNING_KEY}")
    public.set_defaults(run=_public_key)


def _add_carry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", required=True, metavar="ADDRESS", help="where segments are kept: s3://BUCKET/PREFIX")
    parser.add_argument("--from", dest="folder", type=Path, help="the servers' folder (default: HEALTHRISK_RECORDS)")
    parser.add_argument("--keep-days", type=_days, default=KEEP_DAYS, help="how long (default: %(default)g)")
    parser.add_argument("--push", metavar="URL", help="the push gateway that is told when all was carried")
    parser.set_defaults(run=_carry)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= 36500:
        raise argparse.ArgumentTypeError(f"{text!r}: expected days, more than 0")
    return days


def _carry(args: argparse.Namespace) -> Document:
    from healthrisk.operations import freshness
    from healthrisk.records import actions, carrier, places, signature

    folder = args.folder or settings().records
    if folder is None:
        raise ConfigError("which folder? give it with --from or HEALTHRISK_RECORDS")
    key = signature.signing_key(os.environ.get(_SIGNING_KEY, ""))
    keep, to = datetime.timedelta(days=args.keep_days), places.open_place(args.to)
    carried = carrier.carry(folder, to, key, keep)
    if carried.removed:
        actions.tell("deleted", reason=f"{carried.removed} segments of the record, older than {args.keep_days:g} days")
    if carried.faults:
        args.exit_code = _AT_FAULT
    elif args.push:
        freshness.push(args.push, "records")
    return carried


def _public_key(_: argparse.Namespace) -> str:
    from healthrisk.records import signature

    return signature.public_text(signature.signing_key(os.environ.get(_SIGNING_KEY, "")))


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", help="the record: a folder, file:///FOLDER or s3://BUCKET/PREFIX")
    parser.add_argument(
        "--public-key", nargs="+", default=[], metavar="KEY", help="who may have signed: 64 digits each"
    )
    parser.add_argument("--keep-days", type=_days, default=KEEP_DAYS, help="how long segments are kept (%(default)g)")
    parser.add_argument(
        "--known", type=Path, metavar="FILE", help="a verdict of before: what it saw must still be there"
    )
    parser.set_defaults(run=_verify)


def _verify(args: argparse.Namespace) -> Document:
    from pydantic import ValidationError

    from healthrisk.records import places, signature
    from healthrisk.records.verify import Rules, Verdict, verify

    known = {}
    if args.known:
        try:
            known = {one.chain: one for one in Verdict.read(args.known).chains}
        except (OSError, ValidationError) as error:
            raise ConfigError(f"{args.known}: expected what `records verify` printed") from error
    keys = tuple(map(signature.public_key, args.public_key))
    rules = Rules(keys, datetime.timedelta(days=args.keep_days), known)
    # Where chains are known, that none is there is a fault of the record, and no wrong address.
    place = places.open_place(args.address) if known else _open_record(args.address)
    verdict = verify(place, rules)
    args.exit_code = 0 if verdict.whole else _AT_FAULT
    return verdict


def _add_find(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", help="the record: a folder, file:///FOLDER or s3://BUCKET/PREFIX")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--receipt", help="a receipt of an answer")
    what.add_argument("--rows", type=Path, metavar="FILE", help="what was asked: a table, or a request's JSON")
    what.add_argument("--event", choices=get_args(ActionEvent), help="what was done: by whom, when and why")
    what.add_argument(
        "--version", type=_version, metavar="NUMBER", help="all that was done to this version of the data set's model"
    )
    parser.add_argument("--dataset", default="heart-disease", help="the rows' spec: a name, or the path of one")
    parser.set_defaults(run=_find)


def _version(text: str) -> str:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a version's number")
    return text


def _open_record(address: str) -> Place:
    """Return a place with a record in it: of an empty one nothing is found, and nothing is at fault."""
    from healthrisk.records import places, stored
    from healthrisk.records.lines import RecordError

    place = places.open_place(address)
    if not stored.segments(place.names(), place):
        raise RecordError(
            f"record {address!r}: no chain is there; expected the folder or prefix that holds CHAIN/NUMBER"
        )
    return place


def _find(args: argparse.Namespace) -> Document:
    from healthrisk import spec
    from healthrisk.operations.asked_rows import read_rows
    from healthrisk.receipts.token import number_of
    from healthrisk.records import search
    from healthrisk.records.keyed_digest import KeyedDigest
    from healthrisk.spec import name_of

    if args.event or args.version:
        model = name_of(args.dataset) if args.version else None
        return search.find_actions(_open_record(args.address), args.event, model, args.version)
    if args.receipt:
        digests = [number_of(args.receipt).hex()]
    elif not (keys := settings().record_keys):
        raise ConfigError(
            "HEALTHRISK_RECORD_KEY is missing: digests of values are found by the key they were made with"
        )
    else:
        matrix = read_rows(args.rows, spec.load(args.dataset))
        digests = [digest for key in keys for digest in KeyedDigest(key).of(matrix)]
    return search.find(_open_record(args.address), digests)
