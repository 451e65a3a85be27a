"""The immutable model version: its files, digests, preprocessor, reference and store. Imports spec."""

from healthrisk.bundle.bundle import FILES, MANIFEST, Bundle

__all__ = ["FILES", "MANIFEST", "Bundle"]
