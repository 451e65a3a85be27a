"""Which bundle is meant: the one at an address, or a data set's champion."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.errors import StoreError
from healthrisk.spec import name_of

if TYPE_CHECKING:
    from healthrisk.registry.versions import Registered


def find_bundle(address: str | None, dataset: str, cache: Path) -> Bundle:
    """Return the bundle at an address, or else the data set's champion, every file checked; S3's are copied to `cache`.

    `dataset` is a data set's name or the path of its spec. What the registry here has retired is refused; where there
    is none, nobody knows.

    Raises:
        StoreError: there is no such bundle or no champion, it is retired, or the registry or store does not answer.
        BundleError: the bundle is not whole.
        SpecError: the path holds no spec.
    """
    if address:
        bundle = store.fetch(address, None, cache)
        _refuse_retired(bundle)
        return bundle
    champion = _find_champion(dataset)
    return store.fetch(champion.uri, champion.digest, cache)


def find_address(address: str | None, dataset: str) -> tuple[str, str]:
    """Return the address and the digest of what `find_bundle` returns, for processes that open it themselves.

    Raises:
        StoreError, BundleError, SpecError: as `find_bundle`.
    """
    if not address:
        champion = _find_champion(dataset)
        return champion.uri, champion.digest
    with tempfile.TemporaryDirectory(prefix="healthrisk-bundle-") as cache:
        digest = find_bundle(address, dataset, Path(cache)).digest
    return address if "://" in address else str(Path(address).absolute()), digest


def _find_champion(dataset: str) -> "Registered":
    # Imports MLflow, which takes seconds that an address saves.
    from healthrisk.registry import retirement, versions

    champion = versions.champion(name_of(dataset))
    if champion is None:
        raise StoreError(
            f"{dataset!r} has no champion yet: run `python pipelines/train_pipeline.py --dataset {dataset}`, "
            "or give the address of a bundle"
        )
    retirement.refuse(name_of(dataset), champion)
    return champion


def _refuse_retired(bundle: Bundle) -> None:
    # An address says nothing of that, but the registry knows the bundle by its digest, wherever its bytes lie.
    database = settings().registry_file
    if database and not database.exists():
        return
    # Imports MLflow, which takes seconds that a machine without a registry saves.
    from healthrisk.registry import retirement

    retirement.refuse_digest(bundle.spec.name, bundle.digest)
