"""Which bundle is meant: the one at an address, or a data set's champion."""

from pathlib import Path

from healthrisk.bundle import Bundle, store
from healthrisk.errors import StoreError
from healthrisk.spec import name_of


def find_bundle(address: str | None, dataset: str, cache: Path) -> Bundle:
    """Return the bundle at an address, or else the data set's champion, every file checked; S3's are copied to `cache`.

    `dataset` is a data set's name or the path of its spec.

    Raises:
        StoreError: there is no such bundle or no champion, or the registry or the store does not answer.
        BundleError: the bundle is not whole.
        SpecError: the path holds no spec.
    """
    if address:
        return store.fetch(address, None, cache)
    # Imports MLflow, which takes seconds that an address saves.
    from healthrisk.registry import versions

    champion = versions.champion(name_of(dataset))
    if champion is None:
        raise StoreError(
            f"{dataset!r} has no champion yet: run `python pipelines/train_pipeline.py --dataset {dataset}`, "
            "or give the address of a bundle"
        )
    return store.fetch(champion.uri, champion.digest, cache)
