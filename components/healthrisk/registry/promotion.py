"""A version goes on to the next site or environment: the same bytes, verified, proven and registered there.

Each part finds again what a run that was killed has done: the bundle by its digest, the evidence's run and the version
likewise. The version's alias comes last, and says that all the rest is there.
"""

import tempfile
import time
from pathlib import Path

from mlflow.exceptions import MlflowException

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.documents import Document
from healthrisk.errors import ConfigError, StoreError
from healthrisk.inference.scorer import Scorer
from healthrisk.registry import contexts, evidence_run, retirement, versions
from healthrisk.registry.versions import CHALLENGER, CHAMPION, Registered


class Promotion(Document):
    """What was carried: the version here and there, its bytes, its signature as verified there, and its alias there."""

    name: str
    source: str
    source_version: str
    target: str
    version: str
    alias: str
    digest: str
    signature: str
    evidence: str
    golden_rows: int
    by: str
    at: str


def promote(name: str, number: str, source: str, target: str, by: str, *, champion: bool = False) -> Promotion:
    """Carry a version from one context to another; there it is challenger, or champion if there is none or if asked.

    Raises:
        ConfigError: a context is none, or both are the same place.
        RetiredError: the version was retired, here or there.
        SignatureError: it is not signed by whom the target believes.
        StoreError: a registry or a store has no such version, or does not answer.
        BundleError: its bytes are not whole, or do not answer there as recorded.
    """
    with tempfile.TemporaryDirectory(prefix="healthrisk-promotion-") as scratch:
        folder = Path(scratch)
        try:
            with contexts.entered(source):
                place = settings().tracking_uri
                version = retirement.refuse(name, versions.by_number(name, number))
                bundle = store.fetch(version.uri, version.digest, folder / "source")
                evidence = evidence_run.download(version.run_id, folder / "evidence")
            with contexts.entered(target):
                if settings().tracking_uri == place:
                    raise ConfigError(f"contexts {source!r} and {target!r} are one place: {place}")
                retirement.refuse_digest(name, version.digest)
                carried = _carry(bundle, folder)
                tags = {"promoted.from": source, "promoted.version": number, "promoted.by": by}
                tags |= {"promoted.evidence": evidence_run.digest_of(folder / "evidence"), "promoted.at": _now()}
                run = evidence_run.upload(name, bundle.digest, evidence, folder / "evidence", tags)
                there = _register(carried[1], version, run, tags, carried[0])
                alias = _give_alias(name, there, champion=champion)
                written = versions.tags_of(name, there.number)
        except MlflowException as error:
            raise StoreError(f"version {number} of {name} from {source} to {target}: {error.message}") from error
    return Promotion(
        name=name,
        source=source,
        source_version=number,
        target=target,
        version=there.number,
        alias=alias,
        digest=there.digest,
        signature=carried[1].signature,
        evidence=written["promoted.evidence"],
        golden_rows=len(carried[1].golden.rows),
        by=written["promoted.by"],
        at=written["promoted.at"],
    )


def _carry(bundle: Bundle, folder: Path) -> tuple[str, Bundle]:
    """Store a bundle here, and prove it as it is read back: its address, and the bundle."""
    # Nothing enters a store that this site would not open.
    Bundle.open(bundle.path, bundle.digest)
    uri = store.put(bundle, settings().bundles)
    carried = store.fetch(uri, bundle.digest, folder / "target")
    Scorer(carried).replay_golden()
    return uri, carried


def _register(bundle: Bundle, version: Registered, run: str, promoted: dict[str, str], uri: str) -> Registered:
    name = bundle.spec.name
    there = versions.by_digest(name, bundle.digest)
    if there is None:
        known = {"family": version.family, "metric": version.metric, "score": repr(version.score)}
        there = versions.create(name, uri, run, {"uri": uri, "digest": bundle.digest, **known, **promoted})
    if "promoted.from" not in versions.tags_of(name, there.number):
        # It was trained here, too: the same bytes.
        versions.tag(name, there.number, promoted)
    return there


def _give_alias(name: str, there: Registered, *, champion: bool) -> str:
    current = versions.champion(name)
    if champion or current is None or current.number == there.number:
        versions.make_champion(name, there.number)
        return CHAMPION
    versions.make_challenger(name, there.number)
    return CHALLENGER


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
