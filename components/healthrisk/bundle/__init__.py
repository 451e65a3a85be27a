"""The immutable model version: its files, digests, preprocessor, reference and store. Imports spec."""

from healthrisk.bundle.bundle import Bundle
from healthrisk.bundle.manifest import FILES, MANIFEST

__all__ = ["FILES", "MANIFEST", "Bundle"]
