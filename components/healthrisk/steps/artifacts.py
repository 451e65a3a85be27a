"""What steps read of each other's artifacts."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from healthrisk.spec import DatasetSpec

if TYPE_CHECKING:
    from healthrisk.training.sampling import Part
    from healthrisk.training.train import Trained


class Artifact(Protocol):
    """A file or folder of another step, wherever the pipeline runs."""

    @property
    def path(self) -> str:
        """Where it lies on this machine."""


def read_spec(spec: Artifact) -> DatasetSpec:
    """Return the dataset spec that ingest wrote."""
    return DatasetSpec.parse(Path(spec.path).read_text())


def read_models(*folders: Artifact) -> "list[Trained]":
    """Return the trained models in their folders."""
    # The steps before training need not wait for scikit-learn.
    from healthrisk.training.train import Trained

    return [Trained.load(Path(folder.path)) for folder in folders]


def read_parts(spec: DatasetSpec, train: Artifact, test: Artifact) -> "tuple[Part, Part]":
    """Return the training part and the hold-out: each a matrix [rows, features] with class positions [rows]."""
    from healthrisk.training.split import read_split

    return read_split(spec, Path(train.path)), read_split(spec, Path(test.path))
