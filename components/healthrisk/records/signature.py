"""The signature of a carried segment: Ed25519, by a key that no server has.

A server that was taken over can write false lines from then on; it cannot sign a history of its own making. So the
carrier signs, and the process that answers strangers holds no signing key.
"""

import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from healthrisk.documents import Document
from healthrisk.errors import ConfigError
from healthrisk.records.lines import RecordError, Tail

_KEY = re.compile(r"[0-9a-fA-F]{64}")


class Statement(Document):
    """What is signed: which segment it is, the SHA-256 of its bytes, its lines, and the times of the first and last."""

    chain: str
    segment: int
    sha256: str
    lines: int
    first: str
    tail: Tail


class Signed(Document):
    """A statement with its signature, in hexadecimal digits."""

    statement: Statement
    signature: str


def signing_key(text: str) -> Ed25519PrivateKey:
    """Read a private key: its 32 bytes as hexadecimal digits.

    Raises:
        ConfigError: it is none. The text is never quoted.
    """
    if not _KEY.fullmatch(text):
        raise ConfigError("HEALTHRISK_RECORD_SIGNING_KEY, which signs the record: expected 64 hexadecimal digits")
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text))


def public_key(text: str) -> Ed25519PublicKey:
    """Read a public key: its 32 bytes as hexadecimal digits.

    Raises:
        ConfigError: it is none.
    """
    if not _KEY.fullmatch(text):
        raise ConfigError(f"public key {text!r}: expected 64 hexadecimal digits")
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public key of a private one, as hexadecimal digits."""
    return key.public_key().public_bytes_raw().hex()


def sign(statement: Statement, key: Ed25519PrivateKey) -> bytes:
    """Return a signed statement as JSON."""
    signature = key.sign(_said(statement)).hex()
    return Signed(statement=statement, signature=signature).model_dump_json().encode()


def read_signed(data: bytes) -> Signed:
    """Read what `sign` returned, whoever signed it.

    Raises:
        RecordError: it is no signed statement.
    """
    try:
        return Signed.model_validate_json(data)
    except ValidationError:
        raise RecordError("its signature is no signed statement") from None


def check(signed: Signed, keys: tuple[Ed25519PublicKey, ...]) -> None:
    """Make sure that a statement was signed by one of several keys.

    Raises:
        RecordError: it was not.
    """
    for key in keys:
        try:
            key.verify(bytes.fromhex(signed.signature), _said(signed.statement))
        except (InvalidSignature, ValueError):
            continue
        return
    raise RecordError("its signature is by none of the keys")


def _said(statement: Statement) -> bytes:
    return b"healthrisk record 1\n" + statement.model_dump_json().encode()
