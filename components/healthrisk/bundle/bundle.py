"""The bundle: one immutable folder per model version, addressed by its content; what is trained is what is served.

Opening a bundle checks the digest of every file and reads JSON and ONNX only. The joblib files lie there for audit and
explanation; nothing in this module opens them.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from healthrisk.atomic import scratch_folder
from healthrisk.bundle.preprocessor import Preprocessor
from healthrisk.errors import BundleError
from healthrisk.spec import DatasetSpec

MANIFEST = "MANIFEST.json"
FILES = (
    "spec.json",
    "preprocessor.json",
    "preprocessor.joblib",
    "model.onnx",
    "model.joblib",
    "metrics.json",
    "golden.json",
    "reference.json",
)
FORMAT = 1


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

    def read_json(self, name: str) -> Any:
        """Return the content of one of the bundle's JSON files."""
        return json.loads((self.path / name).read_text("utf-8"))

    @classmethod
    def open(cls, path: Path, digest: str | None = None) -> Self:
        """Open a folder after checking every file against the manifest, and the manifest against `digest` if given.

        Raises:
            BundleError: a file is missing, unlisted or altered, or the format is another one; the message names it.
        """
        manifest_bytes = _read(path / MANIFEST)
        found = hashlib.sha256(manifest_bytes).hexdigest()
        if digest is not None and found != digest:
            raise BundleError(f"bundle {path}: {MANIFEST} has digest {found}, expected {digest}")
        try:
            manifest = json.loads(manifest_bytes)
            files = manifest["files"]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"bundle {path}: {MANIFEST} is not a manifest: {error!r}") from error
        if manifest.get("format") != FORMAT:
            raise BundleError(f"bundle {path}: format {manifest.get('format')!r}, expected {FORMAT}")
        if missing := sorted(set(FILES) - set(files)):
            raise BundleError(f"bundle {path}: {MANIFEST} lists no {missing[0]}")
        for name, expected in files.items():
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


def write(folder: Path, fill: Callable[[Path], dict[str, Any]]) -> Bundle:
    """Make a bundle below `folder`, in a sub-folder named by its digest, and return it opened.

    `fill(path)` writes every file of `FILES` into a scratch folder and returns the manifest's other entries. It
    becomes the bundle by one rename, so a kill at any point leaves no half-written bundle under its final name.
    """
    with scratch_folder(folder) as scratch:
        provenance = fill(scratch)
        files = {name: hashlib.sha256(_read(scratch / name)).hexdigest() for name in FILES}
        text = json.dumps({"format": FORMAT, **provenance, "files": files}, indent=1, sort_keys=True)
        (scratch / MANIFEST).write_text(text, "utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        final = folder / digest
        if not final.exists():
            scratch.replace(final)
        return Bundle.open(final, digest)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"bundle {path.parent}: {path.name} cannot be read: {error.strerror}") from error
