"""Specs by name: those that ship with the package, and a user's own by their paths."""

import importlib.resources
from pathlib import Path

from healthrisk.errors import SpecError
from healthrisk.spec.document import DatasetSpec

_SUFFIXES = (".yaml", ".yml", ".json")


def builtin_names() -> tuple[str, ...]:
    """The names of the specs that ship with the package."""
    folder = importlib.resources.files("healthrisk") / "datasets"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def name_of(dataset: str) -> str:
    """Return the name of a data set that is given by its name, or by the path of its spec.

    Raises:
        SpecError: the path holds no spec.
    """
    return load(dataset).name if Path(dataset).suffix in _SUFFIXES else dataset


def load(dataset: str) -> DatasetSpec:
    """Load a shipped spec by name, or a user's own by the path of its YAML file.

    Raises:
        SpecError: there is no such spec, or it is not valid.
    """
    if dataset in builtin_names():
        return DatasetSpec.parse(
            (importlib.resources.files("healthrisk") / "datasets" / f"{dataset}.yaml").read_text("utf-8")
        )
    path = Path(dataset)
    if path.suffix not in _SUFFIXES:
        raise SpecError(f"unknown data set {dataset!r}: expected one of {', '.join(builtin_names())}, or a .yaml file")
    try:
        return DatasetSpec.parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"the spec {dataset!r} cannot be read: {error}") from error
