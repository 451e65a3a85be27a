"""The bundle: one immutable folder per model version, addressed by its content; what is trained is what is served.

A bundle holds `FILES` and the classifier in one of the `FORMS` it can be served in. Opening it checks the digest of
every file and reads JSON and ONNX only. The joblib files lie there for audit and explanation; nothing in this module
opens them.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from healthrisk.atomic import scratch_folder
from healthrisk.bundle.classifier import FORMS, Classifier, Form, ServingForm
from healthrisk.bundle.preprocessor import Preprocessor
from healthrisk.bundle.trees import TREES
from healthrisk.errors import BundleError
from healthrisk.spec import DatasetSpec

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
FORMAT = 2


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. `digest` is the SHA-256 of its manifest, `version` its first twelve digits."""

    path: Path
    digest: str
    manifest: dict[str, Any]
    spec: DatasetSpec
    preprocessor: Preprocessor

    @property
    def version(self) -> str:
        """The short name of this version, as servers report it."""
        return self.digest[:12]

    @property
    def form(self) -> Form:
        """The form in which the classifier is served: the name of its file."""
        return next(name for name in FORMS if name in self.manifest["files"])

    def read_json(self, name: str) -> Any:
        """Return the content of one of the bundle's JSON files."""
        return json.loads((self.path / name).read_text("utf-8"))

    def classifier(self, threads: int = 1) -> Classifier:
        """Return the classifier in its serving form, ready to answer."""
        trees = (self.path / TREES).read_bytes() if TREES in self.manifest["files"] else None
        return ServingForm(self.form, (self.path / self.form).read_bytes(), trees).load(threads)

    @classmethod
    def open(cls, path: Path, digest: str | None = None) -> Self:
        """Open a folder after checking every file against the manifest, and the manifest against `digest` if given.

        Raises:
            BundleError: a file is missing, unlisted or altered, or the format is another one; the message names it.
        """
        manifest, found = read_manifest(path, digest)
        for name, expected in manifest["files"].items():
            actual = hashlib.sha256(_read(path / name)).hexdigest()
            if actual != expected:
                raise BundleError(f"bundle {path}: {name} has digest {actual}, {MANIFEST} says {expected}")
        return cls(
            path=path,
            digest=found,
            manifest=manifest,
            spec=DatasetSpec.parse((path / "spec.json").read_text("utf-8")),
            preprocessor=Preprocessor.from_json((path / "preprocessor.json").read_text("utf-8")),
        )


def read_manifest(path: Path, digest: str | None = None) -> tuple[dict[str, Any], str]:
    """Return a folder's manifest and its digest, which is `digest` if given; no other file is looked at.

    Raises:
        BundleError: it is missing or altered, of another format, or does not list a bundle's files and nothing else.
    """
    content = _read(path / MANIFEST)
    found = hashlib.sha256(content).hexdigest()
    if digest is not None and found != digest:
        raise BundleError(f"bundle {path}: {MANIFEST} has digest {found}, expected {digest}")
    try:
        manifest = json.loads(content)
        files = set(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"bundle {path}: {MANIFEST} is not a manifest: {error!r}") from error
    if manifest.get("format") != FORMAT:
        raise BundleError(f"bundle {path}: format {manifest.get('format')!r}, expected {FORMAT}")
    if missing := sorted(set(FILES) - files):
        raise BundleError(f"bundle {path}: {MANIFEST} lists no {missing[0]}")
    if len(files & set(FORMS)) != 1:
        raise BundleError(f"bundle {path}: {MANIFEST} must list one of {' and '.join(FORMS)}")
    # The names are paths to be written by whoever copies the bundle.
    if foreign := sorted(files - {*FILES, *FORMS, TREES}):
        raise BundleError(f"bundle {path}: {MANIFEST} lists {foreign[0]!r}, which is no file of a bundle")
    return manifest, found


def write(folder: Path, fill: Callable[[Path], dict[str, Any]]) -> Bundle:
    """Make a bundle below `folder`, in a sub-folder named by its digest, and return it opened.

    `fill(path)` writes every file of `FILES` and one of `FORMS` into a scratch folder and returns the manifest's other
    entries. It becomes the bundle by one rename, so a kill at any point leaves no half-written bundle under its final
    name.
    """
    with scratch_folder(folder) as scratch:
        provenance = fill(scratch)
        files = {name: hashlib.sha256(_read(scratch / name)).hexdigest() for name in (*FILES, *_form(scratch))}
        text = json.dumps({"format": FORMAT, **provenance, "files": files}, indent=1, sort_keys=True)
        (scratch / MANIFEST).write_text(text, "utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        final = folder / digest
        if not final.exists():
            scratch.replace(final)
        return Bundle.open(final, digest)


def _form(folder: Path) -> list[str]:
    return [name for name in (*FORMS, TREES) if (folder / name).exists()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"bundle {path.parent}: {path.name} cannot be read: {error.strerror}") from error
