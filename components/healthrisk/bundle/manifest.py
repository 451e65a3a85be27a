"""A bundle's manifest: the digest of every file, and where the model came from.

How the format may change, and what older versions wrote, stands in the README beside this module.
"""

import json
from typing import Literal

from pydantic import JsonValue, ValidationError

from healthrisk.bundle.classifier import FORMS, Form
from healthrisk.bundle.trees import TREES
from healthrisk.documents import Document
from healthrisk.errors import BundleError
from healthrisk.spec import Family

MANIFEST = "MANIFEST.json"
FILES = (
    "spec.json",
    "preprocessor.json",
    "preprocessor.joblib",
    "model.joblib",
    "metrics.json",
    "golden.json",
    "reference.json",
)
FORMAT: Literal[2] = 2
# The version of healthrisk that wrote each format before this one.
WRITTEN_BY = {1: "0.1"}


class DataOrigin(Document):
    """Which table a model was made from: the digest of its source's bytes, and its rows."""

    sha256: str
    rows: int


class Parity(Document):
    """On how many rows the serving form was compared with scikit-learn's, and the largest difference in probability."""

    rows: int
    largest_difference: float


class CodeOrigin(Document):
    """The code that made a model: its git revision, and the versions of what computed it."""

    git_revision: str
    versions: dict[str, str]


class Provenance(CodeOrigin):
    """Where a model came from: its data, its parameters by scikit-learn's names, and the code that made it."""

    name: str
    family: Family
    parameters: dict[str, JsonValue]
    seed: int
    data: DataOrigin
    parity: Parity


class Manifest(Provenance):
    """A bundle's provenance, and the SHA-256 of every other file in it, by name."""

    format: Literal[2]
    files: dict[str, str]

    @property
    def form(self) -> Form:
        """The form in which the classifier is served: the name of its file."""
        return next(name for name in FORMS if name in self.files)

    def to_json(self) -> str:
        """The manifest as JSON with sorted keys: its digest is the bundle's."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True)


def version_of(digest: str) -> str:
    """Return the short name of the version that has a digest, as servers report it."""
    return digest[:12]


def parse(content: bytes, where: str) -> Manifest:
    """Read the manifest of the bundle at `where`.

    Raises:
        BundleError: it is of another format, or does not list a bundle's files and nothing else.
    """
    try:
        document = json.loads(content)
        written = document["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"bundle {where}: {MANIFEST} is not a manifest: {error!r}") from error
    if written != FORMAT:
        raise BundleError(f"bundle {where}: {_advice(written)}")
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise BundleError(f"bundle {where}: {MANIFEST} is not valid: {place}: {error.errors()[0]['msg']}") from error
    files = set(manifest.files)
    if missing := sorted(set(FILES) - files):
        raise BundleError(f"bundle {where}: {MANIFEST} lists no {missing[0]}")
    if len(files & set(FORMS)) != 1:
        raise BundleError(f"bundle {where}: {MANIFEST} must list one of {' and '.join(FORMS)}")
    # The names are paths to be written by whoever copies the bundle.
    if foreign := sorted(files - {*FILES, *FORMS, TREES}):
        raise BundleError(f"bundle {where}: {MANIFEST} lists {foreign[0]!r}, which is no file of a bundle")
    return manifest


def _advice(written: object) -> str:
    """Say which version wrote another format, and what to do."""
    if isinstance(written, int) and written in WRITTEN_BY:
        return (
            f"healthrisk {WRITTEN_BY[written]} wrote it in format {written}, and this version reads format {FORMAT}: "
            f"train the model again, or serve this bundle with healthrisk {WRITTEN_BY[written]}"
        )
    return f"its format is {written!r}, and this version reads format {FORMAT}: use the version that wrote it"
