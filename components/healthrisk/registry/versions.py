"""The model registry: MLflow versions that point at bundles, and the aliases champion and challenger."""

import contextlib
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from healthrisk.atomic import scratch_folder
from healthrisk.config import settings
from healthrisk.errors import StoreError

CHAMPION = "champion"
CHALLENGER = "challenger"
# MLflow takes at most 5,000 in a tag.
_TAG_LETTERS = 4000
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Registered:
    """A registered version: where its bundle lies, its cross-validated score, and the aliases that point at it.

    `retired` says why it was retired, if it was.
    """

    number: str
    uri: str
    digest: str
    family: str
    metric: str
    score: float
    aliases: tuple[str, ...]
    run_id: str
    retired: str = ""


def client() -> MlflowClient:
    """Return a client of the configured tracking server; an SQLite file is made ready where there is none."""
    where = settings()
    if where.registry_file:
        _create_database(where.registry_file)
    return MlflowClient(where.tracking_uri, registry_uri=where.tracking_uri)


def _create_database(path: Path) -> None:
    """Make MLflow's tables elsewhere, then link the file into place: half of them would stop every later run."""
    if path.exists():
        return
    # MLflow logs every table it creates, which is noise on a first run.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with scratch_folder(path.parent) as scratch:
        MlflowClient(f"sqlite:///{scratch / path.name}").search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(scratch / path.name)


def champion(name: str) -> Registered | None:
    """Return the version that the alias `champion` points at, or None where there is none yet.

    Raises:
        StoreError: the registry does not answer.
    """
    return by_alias(name, CHAMPION)


def names() -> list[str]:
    """Return the names of all models.

    Raises:
        StoreError: the registry does not answer.
    """
    with _translated():
        return sorted(model.name for model in client().search_registered_models())


def by_alias(name: str, alias: str) -> Registered | None:
    """Return the version of a model that an alias points at, or None.

    Raises:
        StoreError: the registry does not answer.
    """
    database = settings().registry_file
    if database and not database.exists():
        # Making its tables takes seconds, and who only asks needs none.
        return None
    server = client()
    try:
        return _read(server, server.get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise StoreError(f"model registry {settings().tracking_uri}: {error.message}") from error


def by_number(name: str, number: str) -> Registered:
    """Return a version of a model.

    Raises:
        StoreError: the registry does not answer, or has no such version.
    """
    database = settings().registry_file
    if not _NUMBER.fullmatch(number) or (database and not database.exists()):
        raise StoreError(f"model registry {settings().tracking_uri}: there is no version {number!r} of {name}")
    with _translated():
        server = client()
        version = server.get_model_version(name, number)
        if not {"uri", "digest"} <= version.tags.keys():
            raise StoreError(f"version {number} of {name} has no bundle: healthrisk did not register it")
        return _read(server, version)


def by_digest(name: str, digest: str) -> Registered | None:
    """Return the version of a model with a bundle's digest, or None.

    Raises:
        StoreError: the registry does not answer.
    """
    with _translated():
        server = client()
        same = server.search_model_versions(f"name = '{name}' and tag.digest = '{digest}'")
        return _read(server, same[0]) if same else None


def tags_of(name: str, number: str) -> dict[str, str]:
    """Return what is written on a version.

    Raises:
        StoreError: the registry does not answer, or has no such version.
    """
    with _translated():
        return dict(client().get_model_version(name, number).tags)


def remove_alias(name: str, alias: str) -> None:
    """Let an alias point at no version.

    Raises:
        StoreError: the registry does not answer.
    """
    with _translated():
        client().delete_registered_model_alias(name, alias)


def make_champion(name: str, number: str) -> None:
    """Point the alias `champion` at a version; one that was the challenger is that no longer.

    Raises:
        StoreError: the registry does not answer, or has no such version.
    """
    with _translated():
        server = client()
        server.set_registered_model_alias(name, CHAMPION, number)
        if str(server.get_registered_model(name).aliases.get(CHALLENGER)) == number:
            server.delete_registered_model_alias(name, CHALLENGER)


def make_challenger(name: str, number: str) -> None:
    """Point the alias `challenger` at a version.

    Raises:
        StoreError: the registry does not answer, or has no such version.
    """
    with _translated():
        client().set_registered_model_alias(name, CHALLENGER, number)


def tag(name: str, number: str, tags: Mapping[str, str]) -> None:
    """Write tags on a version.

    Raises:
        StoreError: the registry does not answer, or has no such version.
    """
    with _translated():
        server = client()
        for key, value in _cut(tags).items():
            server.set_model_version_tag(name, number, key, value)


def now() -> str:
    """Return the time as tags say it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _cut(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value[:_TAG_LETTERS] for key, value in tags.items()}


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise StoreError(f"model registry {settings().tracking_uri}: {error.message}") from error


def create(name: str, uri: str, run_id: str, tags: Mapping[str, str]) -> Registered:
    """Register a version of a model, which is made if it is the first.

    Raises:
        StoreError: the registry does not answer, or refuses.
    """
    with _translated():
        server = client()
        try:
            server.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return _read(server, server.create_model_version(name, source=uri, run_id=run_id, tags=_cut(tags)))


def describe(name: str, number: str, text: str) -> None:
    """Give a version its description.

    Raises:
        StoreError: the registry does not answer, or has no such version.
    """
    with _translated():
        client().update_model_version(name, number, text)


def _read(server: MlflowClient, version: ModelVersion) -> Registered:
    # Only the model itself lists aliases reliably; a version found by search carries none.
    aliases = server.get_registered_model(version.name).aliases
    tags = version.tags
    return Registered(
        number=str(version.version),
        uri=tags["uri"],
        digest=tags["digest"],
        family=tags["family"],
        metric=tags["metric"],
        score=float(tags["score"]),
        aliases=tuple(sorted(alias for alias, number in aliases.items() if str(number) == str(version.version))),
        run_id=version.run_id or "",
        retired=tags.get("retired", ""),
    )
