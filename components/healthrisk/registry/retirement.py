"""A version that is retired: marked with a reason, kept with all that it was, and never served again by accident."""

import time

from healthrisk.documents import Document
from healthrisk.errors import ConfigError, StoreError
from healthrisk.registry import versions
from healthrisk.registry.versions import Registered

_LONGEST_REASON = 1000


class RetiredError(StoreError):
    """A version that is to be served was retired."""


class Retirement(Document):
    """Which version is retired, why, by whom and since when (UTC), and the aliases that it had."""

    name: str
    version: str
    reason: str
    by: str
    at: str
    aliases: tuple[str, ...]


def retire(name: str, number: str, reason: str, by: str) -> Retirement:
    """Mark a version and take its aliases from it; one that is retired already keeps its first reason.

    Raises:
        ConfigError: there is no reason, or one that no tag holds.
        StoreError: the registry does not answer, or has no such version.
    """
    said = " ".join(reason.split())
    if not 0 < len(said) <= _LONGEST_REASON:
        raise ConfigError(f"--reason {said[:40]!r}: expected 1 to {_LONGEST_REASON:,} characters")
    version = versions.by_number(name, number)
    if not version.retired:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        # The reason last: a version with one is marked as a whole.
        versions.tag(name, number, {"retired.by": by, "retired.at": at, "retired": said})
    for alias in version.aliases:
        versions.remove_alias(name, alias)
    tags = versions.tags_of(name, number)
    return Retirement(
        name=name,
        version=number,
        reason=tags["retired"],
        by=tags["retired.by"],
        at=tags["retired.at"],
        aliases=version.aliases,
    )


def refuse(name: str, version: Registered) -> Registered:
    """Return a version that may be served.

    Raises:
        RetiredError: it was retired; the message says why.
    """
    if version.retired:
        raise RetiredError(f"version {version.number} of {name} is retired: {version.retired}")
    return version


def refuse_number(name: str, number: str) -> None:
    """Make sure that a version may be served.

    Raises:
        RetiredError: it was retired.
        StoreError: the registry does not answer, or has no such version.
    """
    refuse(name, versions.by_number(name, number))


def refuse_digest(name: str, digest: str) -> None:
    """Make sure that no version with a bundle's digest was retired here; it need not be registered.

    Raises:
        RetiredError: one was.
        StoreError: the registry does not answer.
    """
    if version := versions.by_digest(name, digest):
        refuse(name, version)
