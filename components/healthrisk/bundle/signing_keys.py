"""The keys that bundles are signed and verified by: ECDSA on P-256, in PEM or in a file of it."""

import base64
import binascii
import hashlib
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from healthrisk.errors import ConfigError

# Taking it in costs a server 30 ms, which one without a key saves.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

SIGNING_KEY, PUBLIC_KEY = "HEALTHRISK_BUNDLE_SIGNING_KEY", "HEALTHRISK_BUNDLE_PUBLIC_KEY"
_PEM = "-----BEGIN "
_PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----([^-]*)-----END PUBLIC KEY-----")
# What stands before the point in a public key of ECDSA on P-256 (RFC 5480). It is read here, as cryptography's own
# reader takes in so many other formats that a server would start 50 ms later.
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


def private_key(text: str) -> "EllipticCurvePrivateKey":
    """Read what signs: PEM, or the path of it.

    Raises:
        ConfigError: it cannot be read, or is none of ECDSA on P-256. The text is never quoted.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(_pem(SIGNING_KEY, text).encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{SIGNING_KEY}: expected a private key in PEM, without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ConfigError(f"{SIGNING_KEY}: expected a key of ECDSA on P-256")
    return key


def public_keys(text: str) -> "dict[str, EllipticCurvePublicKey]":
    """Read one or more keys that are believed: PEM, or the path of it; return them by fingerprint.

    Raises:
        ConfigError: they cannot be read, or are none of ECDSA on P-256.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    keys = {}
    for place, block in enumerate(_PUBLIC.findall(_pem(PUBLIC_KEY, text)), 1):
        try:
            encoded = base64.b64decode("".join(block.split()), validate=True)
            if not encoded.startswith(_P256):
                raise ValueError
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encoded[len(_P256) :])
        except (ValueError, binascii.Error):
            raise ConfigError(f"{PUBLIC_KEY}: key {place} is no public key of ECDSA on P-256") from None
        keys[fingerprint(encoded)] = key
    if not keys:
        raise ConfigError(f"{PUBLIC_KEY}: expected public keys in PEM, or the path of a file of them")
    return keys


def fingerprint(encoded: bytes) -> str:
    """Return the SHA-256 of a public key's PEM, by which tools of this format name it, given its DER."""
    lines = textwrap.wrap(base64.b64encode(encoded).decode(), 64)
    return hashlib.sha256(
        "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]).encode()
    ).hexdigest()


def fingerprint_of(key: "EllipticCurvePrivateKey") -> str:
    """Return the fingerprint of a private key's public one."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return fingerprint(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _pem(variable: str, text: str) -> str:
    if _PEM in text:
        return text.strip() + "\n"
    try:
        return Path(text).read_text("ascii")
    except (OSError, ValueError):
        raise ConfigError(f"{variable}: expected a key in PEM, or the path of one that can be read") from None
