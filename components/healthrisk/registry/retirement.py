"""A version that is retired: marked with a reason, kept with all that it was, and never served again by accident."""

from healthrisk.documents import Document
from healthrisk.errors import ConfigError, StoreError
from healthrisk.records import actions
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
    """Mark a version, take its aliases from it and put that on record; one that was retired keeps its first reason.

    What serves it goes on until another version is deployed: this touches the registry alone.

    Raises:
        ConfigError: there is no reason, or one that no tag holds.
        StoreError: the registry does not answer, or has no such version.
    """
    said = " ".join(reason.split())
    if not 0 < len(said) <= _LONGEST_REASON:
        raise ConfigError(f"--reason {said[:40]!r}: expected 1 to {_LONGEST_REASON:,} characters")
    version = versions.by_number(name, number)
    if not version.retired:
        # The reason last: a version with one is marked as a whole.
        versions.tag(name, number, {"retired.by": by, "retired.at": versions.now(), "retired": said})
    try:
        for alias in version.aliases:
            versions.remove_alias(name, alias)
    finally:
        actions.tell("retired", name, number, version.digest, f"{version.retired or said}; by {by}")
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


def reason(name: str, number: str) -> str:
    """Return in a sentence why a version may not be served; empty if it may.

    Raises:
        StoreError: the registry does not answer, or has no such version.
    """
    try:
        refuse_number(name, number)
    except RetiredError as error:
        return str(error)
    return ""


def refuse_digest(name: str, digest: str) -> None:
    """Make sure that no version with a bundle's digest was retired here; it need not be registered.

    Raises:
        RetiredError: one was.
        StoreError: the registry does not answer.
    """
    if version := versions.by_digest(name, digest):
        refuse(name, version)
