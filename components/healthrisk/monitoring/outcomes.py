"""The outcomes of this platform: its keys, its database, and its bundle store."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.errors import ConfigError, SourceError
from healthrisk.monitoring.outcome_intake import OpenVersion, OutcomeIntake
from healthrisk.monitoring.outcome_store import OutcomeStore
from healthrisk.monitoring.performance import LivePerformance, assess


@dataclass(frozen=True)
class Outcomes:
    """The counts, and the versions that they are of, each opened once."""

    counts: OutcomeStore
    open_version: OpenVersion

    def intake(self) -> OutcomeIntake:
        """Return an intake that believes this platform's keys.

        Raises:
            ConfigError: there is no key.
        """
        keys = settings().receipt_keys
        if not keys:
            raise ConfigError("HEALTHRISK_RECEIPT_KEY is not set: without the servers' key no receipt can be believed")
        return OutcomeIntake(self.counts, keys, self.open_version)

    def assess(self, model: str) -> LivePerformance:
        """Return what the outcomes counted so far say of a model's versions.

        Raises:
            SourceError: there is neither outcome nor prediction of this model.
            StoreError: the database or the bundle store does not answer.
        """
        counted, served = self.counts.counts(model), self.counts.served(model)
        if not (counted or served):
            known = ", ".join(self.counts.models()) or "no model"
            raise SourceError(f"no outcome of {model!r} has been counted; there are outcomes of {known}")
        return assess(counted, served, self.open_version)


@contextmanager
def open_outcomes() -> Iterator[Outcomes]:
    """Yield the outcomes of the platform that the environment names.

    Raises:
        StoreError: the database does not answer.
    """
    where = settings()
    counts = OutcomeStore(where.outcomes)
    try:
        with tempfile.TemporaryDirectory(prefix="healthrisk-versions-") as folder:
            yield Outcomes(counts, cache(partial(_open_version, where.bundles, Path(folder))))
    finally:
        counts.close()


def _open_version(bundles: str, folder: Path, model: str, digest: str) -> Bundle:
    """Return a model's version out of the bundle store, every file checked.

    Raises:
        StoreError: the store does not answer, or holds no such version.
    """
    return store.fetch(f"{bundles.rstrip('/')}/{model}/{digest}", digest, folder)
