"""A bundle's signature: `model.sig` beside its manifest, in OpenSSF's Model Signing format, made offline by a key.

It lists the SHA-256 of every file, the manifest among them, and is no part of the bundle's digest: the same bytes are
the same version, whoever has signed them.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from healthrisk.atomic import scratch_folder
from healthrisk.bundle import signed_statement
from healthrisk.bundle.signing_keys import PUBLIC_KEY, fingerprint_of, private_key, public_keys
from healthrisk.errors import BundleError

SIGNATURE = "model.sig"
_MOST_BYTES = 1_000_000


class SignatureError(BundleError):
    """A bundle is unsigned, was altered after it was signed, or was signed by a key that is not believed."""


def sign(folder: Path, name: str, digests: Mapping[str, str], key: str) -> None:
    """Write the signature of the files in `folder`, called `name`, given their SHA-256 by name; `key` is PEM or a path.

    The same files and key give the same signature, byte for byte.

    Raises:
        ConfigError: the key cannot be read, or is none of ECDSA on P-256.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    private = private_key(key)
    payload = signed_statement.statement(name, digests, SIGNATURE)
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    signature = private.sign(signed_statement.encode(payload), algorithm)
    text = signed_statement.envelope(payload, signature, fingerprint_of(private))
    # Not in the folder itself, where whoever verifies at this moment would find a file too many.
    with scratch_folder(folder.parent) as scratch:
        (scratch / SIGNATURE).write_text(text, "utf-8")
        (scratch / SIGNATURE).replace(folder / SIGNATURE)


def check(folder: Path, digests: Mapping[str, str], keys: str) -> str:
    """Hold the files of a folder against its signature, given their SHA-256 by name; say how it is signed, for people.

    `keys` are public keys, PEM or a path; without any nothing is checked.

    Raises:
        SignatureError: it is unsigned, altered, or signed by another key; the message says which.
        ConfigError: the keys cannot be read, or are none of ECDSA on P-256.
    """
    if not keys:
        return "signed, by whom was not checked" if (folder / SIGNATURE).exists() else "unsigned"
    try:
        with (folder / SIGNATURE).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise SignatureError(f"bundle {folder} is unsigned: expected {SIGNATURE}, by a key of {PUBLIC_KEY}") from None
    except OSError as error:
        raise SignatureError(f"bundle {folder}: {SIGNATURE} cannot be read: {error.strerror}") from error
    try:
        payload, signer = _verify(content, keys)
        signed = signed_statement.files_of(payload)
    except ValueError as error:
        raise SignatureError(f"bundle {folder}: {SIGNATURE} {_one_line(error)}") from error
    _compare(folder, digests, signed)
    return f"signed by {signer[:12]}"


def _verify(content: bytes, keys: str) -> tuple[bytes, str]:
    """Return what was signed, and the fingerprint of the key that did; ValueError if none of them has."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    believed = public_keys(keys)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"is larger than {_MOST_BYTES:,} bytes")
    payload, signature = signed_statement.open_envelope(content)
    for name, key in believed.items():
        try:
            key.verify(signature, signed_statement.encode(payload), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return payload, name
    raise ValueError(f"is by none of the keys of {PUBLIC_KEY}")


def _compare(folder: Path, digests: Mapping[str, str], signed: Mapping[str, str]) -> None:
    there = {path.name for path in folder.iterdir()} - {SIGNATURE}
    if added := sorted(there - signed.keys()):
        raise SignatureError(f"bundle {folder}: {added[0]} was added after it was signed")
    if missing := sorted(signed.keys() - digests.keys()):
        raise SignatureError(f"bundle {folder}: {missing[0]} was signed, and is no file of the bundle")
    if altered := sorted(name for name, digest in digests.items() if signed.get(name) != digest):
        raise SignatureError(f"bundle {folder}: {altered[0]} is not what was signed")


def _one_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"is no signature of a model: {'.'.join(map(str, first['loc']))}: {first['msg']}".replace("\n", " ")
    return str(error)
