"""The documents of OpenSSF's Model Signing format, v1.0: a sigstore bundle, its DSSE envelope, its in-toto statement.

Sources: https://github.com/ossf/model-signing-spec, https://github.com/secure-systems-lab/dsse (v1.0.0).
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_IN_TOTO = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"


class _Part(BaseModel):
    # Other tools may write more than is read here.
    model_config = ConfigDict(frozen=True, strict=True)


class _EnvelopeSignature(_Part):
    sig: str


class _Envelope(_Part):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"] = Field(alias="payloadType")
    signatures: tuple[_EnvelopeSignature] = Field(strict=False)


class _SigstoreBundle(_Part):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = Field(alias="mediaType")
    envelope: _Envelope = Field(alias="dsseEnvelope")


class _RootDigest(_Part):
    sha256: str


class _Subject(_Part):
    digest: _RootDigest


class _Serialization(_Part):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Resource(_Part):
    name: str
    algorithm: Literal["sha256"]
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class _Predicate(_Part):
    serialization: _Serialization
    resources: tuple[_Resource, ...] = Field(strict=False)


class _Statement(_Part):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[_Subject] = Field(strict=False)
    predicate_type: Literal["https://model_signing/signature/v1.0"] = Field(alias="predicateType")
    predicate: _Predicate


def statement(name: str, digests: Mapping[str, str], ignored: str) -> bytes:
    """Return what is to be signed of files, given their SHA-256 by name, beside one that is ignored."""
    resources = [{"name": file, "algorithm": "sha256", "digest": digests[file]} for file in sorted(digests)]
    serialization = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": [ignored],
    }
    document = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _root_digest(digests[file] for file in sorted(digests))}}],
        "predicateType": _PREDICATE,
        "predicate": {"serialization": serialization, "resources": resources},
    }
    return json.dumps(document).encode()


def files_of(payload: bytes) -> dict[str, str]:
    """Return the SHA-256 of every file that a statement lists, by name.

    Raises:
        ValueError: it is no such statement, or contradicts itself.
    """
    stated = _Statement.model_validate_json(payload)
    resources = stated.predicate.resources
    if _root_digest(one.digest for one in resources) != stated.subject[0].digest.sha256:
        raise ValueError("lists files that are not those of its root digest")
    files = {one.name: one.digest for one in resources}
    if len(files) < len(resources):
        raise ValueError("lists a file twice")
    return files


def envelope(payload: bytes, signature: bytes, hint: str) -> str:
    """Return a sigstore bundle around a payload and its signature by the key with a fingerprint."""
    document = {
        "mediaType": _SIGSTORE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _IN_TOTO,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(document)


def open_envelope(content: bytes) -> tuple[bytes, bytes]:
    """Return the payload in a sigstore bundle, which nobody has verified yet, and its signature.

    Raises:
        ValueError: it is no such bundle, or has not one signature.
    """
    opened = _SigstoreBundle.model_validate_json(content).envelope
    return _decode(opened.payload), _decode(opened.signatures[0].sig)


def encode(payload: bytes) -> bytes:
    """Return what DSSE signs of a payload: its type and itself, each after its length."""
    return b"DSSEv1 %d %s %d %s" % (len(_IN_TOTO), _IN_TOTO.encode(), len(payload), payload)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"is not base64: {error}") from error


def _root_digest(digests: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
