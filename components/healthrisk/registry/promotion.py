"""A version goes on to the next site or environment: the same bytes, verified, proven and registered there.

Each part finds again what a run that was killed has done: the bundle by its digest, the evidence's run and the version
likewise. The version's alias comes last, and says that all the rest is there.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlflow.exceptions import MlflowException

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.documents import Document
from healthrisk.errors import ConfigError, StoreError
from healthrisk.inference.scorer import Scorer
from healthrisk.records import actions
from healthrisk.registry import contexts, evidence_run, images, retirement, versions
from healthrisk.registry.evidence_run import EvidenceRun
from healthrisk.registry.images import Image
from healthrisk.registry.versions import CHALLENGER, CHAMPION, Registered


class Promotion(Document):
    """What was carried: the version here and there, its bytes, its signature as verified there, and its alias there.

    `images` are those that the source's site runs, by digest, where they are for the target's.
    """

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
    images: tuple[str, ...]
    by: str
    at: str


def promote(name: str, number: str, source: str, target: str, by: str, *, champion: bool = False) -> Promotion:
    """Carry a version from one context to another; there it is challenger, or champion if there is none or if asked.

    Both have it on record.

    Raises:
        ConfigError: a context is none, both are the same place, or images are to be carried and cannot be.
        RetiredError: the version was retired, here or there.
        SignatureError: it is not signed by whom the target believes.
        StoreError: a registry or a store has no such version, or does not answer.
        BundleError: its bytes are not whole, or do not answer there as recorded.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="healthrisk-promotion-") as scratch:
            taken = _take(name, number, source, Path(scratch))
            done = _bring(taken, target, by, champion=champion)
        with contexts.entered(source):
            _tell(done, number, by)
    except MlflowException as error:
        raise StoreError(f"version {number} of {name} from {source} to {target}: {error.message}") from error
    return done


@dataclass(frozen=True)
class _Taken:
    """A version out of its context: that one's registry, its bundle, its evidence in `folder`, its site's images."""

    source: str
    registry: str
    version: Registered
    bundle: Bundle
    evidence: EvidenceRun
    folder: Path
    images: tuple[Image, ...]


def _take(name: str, number: str, source: str, folder: Path) -> _Taken:
    with contexts.entered(source) as site:
        version = retirement.refuse(name, versions.by_number(name, number))
        return _Taken(
            source=source,
            registry=settings().tracking_uri,
            version=version,
            bundle=store.fetch(version.uri, version.digest, folder / "source"),
            evidence=evidence_run.download(version.run_id, folder / "evidence"),
            folder=folder,
            images=images.read(site.images) if site.images else (),
        )


def _bring(taken: _Taken, target: str, by: str, *, champion: bool) -> Promotion:
    name, digest, evidence = taken.bundle.spec.name, taken.bundle.digest, taken.folder / "evidence"
    with contexts.entered(target) as site:
        if settings().tracking_uri == taken.registry:
            raise ConfigError(f"contexts {taken.source!r} and {target!r} are one place: {taken.registry}")
        retirement.refuse_digest(name, digest)
        uri, carried = _carry(taken.bundle, taken.folder)
        there = images.carry(taken.images, site.image_registry, site.images) if taken.images and site.images else ()
        tags = {"promoted.from": taken.source, "promoted.version": taken.version.number, "promoted.by": by}
        tags |= {"promoted.evidence": evidence_run.digest_of(evidence), "promoted.at": versions.now()}
        run = evidence_run.upload(name, digest, taken.evidence, evidence, tags)
        version = _register(carried, taken.version, run, tags, uri)
        if there:
            versions.tag(name, version.number, {"promoted.images": " ".join(there)})
        written = versions.tags_of(name, version.number)
        alias = _give_alias(name, version, champion=champion)
        done = Promotion(
            name=name,
            source=taken.source,
            source_version=taken.version.number,
            target=target,
            version=version.number,
            alias=alias,
            digest=digest,
            signature=carried.signature,
            evidence=written["promoted.evidence"],
            golden_rows=len(carried.golden.rows),
            images=there,
            by=written["promoted.by"],
            at=written["promoted.at"],
        )
        _tell(done, version.number, by)
    return done


def _tell(done: Promotion, number: str, by: str) -> None:
    """Put it on record where the version has that number."""
    what = f"version {done.source_version} of {done.source} is version {done.version} of {done.target}, {done.alias}"
    actions.tell("promoted", done.name, number, done.digest, f"{what}; by {by}")


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
