"""The bundle: one immutable folder per model version, addressed by its content; what is trained is what is served.

A bundle holds `FILES` and the classifier in one of the `FORMS` it can be served in. Opening it checks the digest of
every file and reads JSON and ONNX only. The joblib files lie there for audit and explanation; nothing in this module
opens them.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from healthrisk.atomic import scratch_folder
from healthrisk.bundle import manifest as manifests
from healthrisk.bundle import signature as signatures
from healthrisk.bundle.classifier import FORMS, Classifier, ServingForm
from healthrisk.bundle.golden import Golden
from healthrisk.bundle.manifest import FILES, FORMAT, MANIFEST, Manifest, Provenance, version_of
from healthrisk.bundle.preprocessor import Preprocessor
from healthrisk.bundle.reference import Reference
from healthrisk.bundle.trees import TREES
from healthrisk.config import settings
from healthrisk.errors import BundleError
from healthrisk.spec import DatasetSpec


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. `digest` is the SHA-256 of its manifest, `version` its first twelve digits.

    `signature` says for people how it is signed, if it is.
    """

    path: Path
    digest: str
    manifest: Manifest
    spec: DatasetSpec
    preprocessor: Preprocessor
    signature: str

    @property
    def version(self) -> str:
        """The short name of this version, as servers report it."""
        return version_of(self.digest)

    @cached_property
    def golden(self) -> Golden:
        """Rows with their answers."""
        return Golden.read(self.path / "golden.json")

    @cached_property
    def reference(self) -> Reference:
        """How the rows that the model was made from were distributed."""
        return Reference.read(self.path / "reference.json")

    def classifier(self, threads: int = 1) -> Classifier:
        """Return the classifier in its serving form, ready to answer."""
        form = self.manifest.form
        trees = (self.path / TREES).read_bytes() if TREES in self.manifest.files else None
        return ServingForm(form, (self.path / form).read_bytes(), trees).load(threads)

    def sign(self, key: str) -> None:
        """Sign it where it lies, in place of who signed it before; `key` is PEM or a path.

        Raises:
            ConfigError: the key cannot be read, or is none of ECDSA on P-256.
        """
        signatures.sign(self.path, self.digest, self.manifest.files | {MANIFEST: self.digest}, key)

    @classmethod
    def open(cls, path: Path, digest: str | None = None, believed: str | None = None) -> Self:
        """Open a folder after checking every file against the manifest, and the manifest against `digest` if given.

        Where HEALTHRISK_BUNDLE_PUBLIC_KEY, or `believed` in its place, names public keys, the folder holds what one of
        them has signed, and no more.

        Raises:
            BundleError: a file is missing or altered, or the format is another one; the message names it.
            SignatureError: it is unsigned, signed by another key, or differs from what was signed.
        """
        manifest, own_digest = read_manifest(path, digest)
        for name, expected in manifest.files.items():
            actual = hashlib.sha256(_read(path / name)).hexdigest()
            if actual != expected:
                raise BundleError(f"bundle {path}: {name} has digest {actual}, {MANIFEST} says {expected}")
        # Before anything is read of what these files say.
        keys = settings().bundle_public_keys if believed is None else believed
        signature = signatures.check(path, manifest.files | {MANIFEST: own_digest}, keys)
        return cls(
            path=path,
            digest=own_digest,
            manifest=manifest,
            spec=DatasetSpec.parse((path / "spec.json").read_text("utf-8")),
            preprocessor=Preprocessor.from_json((path / "preprocessor.json").read_text("utf-8")),
            signature=signature,
        )


def read_manifest(path: Path, digest: str | None = None) -> tuple[Manifest, str]:
    """Return a folder's manifest and its digest, which is `digest` if given; no other file is looked at.

    Raises:
        BundleError: it is missing or altered, of another format, or does not list a bundle's files and nothing else.
    """
    content = _read(path / MANIFEST)
    actual = hashlib.sha256(content).hexdigest()
    if digest is not None and actual != digest:
        raise BundleError(f"bundle {path}: {MANIFEST} has digest {actual}, expected {digest}")
    return manifests.parse(content, str(path)), actual


def write(folder: Path, fill: Callable[[Path], Provenance]) -> Bundle:
    """Make a bundle below `folder`, in a sub-folder named by its digest, and return it opened.

    `fill(path)` writes every file of `FILES` and one of `FORMS` into a scratch folder and returns the provenance. It
    becomes the bundle by one rename, so a kill at any point leaves no half-written bundle under its final name. With
    HEALTHRISK_BUNDLE_SIGNING_KEY it is signed before that.
    """
    with scratch_folder(folder) as scratch:
        provenance = fill(scratch)
        names = (*FILES, *(form for form in (*FORMS, TREES) if (scratch / form).exists()))
        files = {name: hashlib.sha256(_read(scratch / name)).hexdigest() for name in names}
        text = Manifest(**provenance.model_dump(), format=FORMAT, files=files).to_json()
        (scratch / MANIFEST).write_text(text, "utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        final = folder / digest
        where = final if final.exists() else scratch
        if key := settings().bundle_signing_key:
            signatures.sign(where, digest, files | {MANIFEST: digest}, key)
        if where is scratch:
            scratch.replace(final)
        return Bundle.open(final, digest)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"bundle {path.parent}: {path.name} cannot be read: {error.strerror}") from error
