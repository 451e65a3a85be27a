"""The outcome desk of this platform: its keys, its database, and its bundle store."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.errors import ConfigError, SourceError
from healthrisk.monitoring.outcome_store import OutcomeStore
from healthrisk.monitoring.outcomes import OutcomeDesk
from healthrisk.monitoring.performance import LivePerformance, assess


@contextmanager
def open_desk() -> Iterator[OutcomeDesk]:
    """Yield a desk on what the environment names.

    Raises:
        ConfigError: there is no key.
        StoreError: the database does not answer.
    """
    where = settings()
    if not where.receipt_keys:
        raise ConfigError("HEALTHRISK_RECEIPT_KEY is not set: without the servers' key no receipt can be believed")
    counts = OutcomeStore(where.outcomes)
    try:
        with tempfile.TemporaryDirectory(prefix="healthrisk-versions-") as cache:
            yield OutcomeDesk(counts, where.receipt_keys, partial(open_version, where.bundles, Path(cache)))
    finally:
        counts.close()


def assess_model(model: str) -> LivePerformance:
    """Return what the outcomes counted so far say of a model's versions.

    Raises:
        SourceError: there is no outcome of this model.
        StoreError: the database or the bundle store does not answer.
    """
    where = settings()
    counts = OutcomeStore(where.outcomes)
    try:
        counted = counts.counts(model)
        if not counted:
            known = ", ".join(counts.models()) or "no model"
            raise SourceError(f"no outcome of {model!r} has been counted; there are outcomes of {known}")
    finally:
        counts.close()
    with tempfile.TemporaryDirectory(prefix="healthrisk-versions-") as cache:
        return assess(counted, partial(open_version, where.bundles, Path(cache)))


def open_version(bundles: str, cache: Path, model: str, digest: str) -> Bundle:
    """Return a model's version out of the bundle store, every file checked.

    Raises:
        StoreError: the store does not answer, or holds no such version.
    """
    return store.fetch(f"{bundles.rstrip('/')}/{model}/{digest}", digest, cache)
