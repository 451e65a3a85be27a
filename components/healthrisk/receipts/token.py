"""The receipt: a short signed token that an answer carries for each row, and that comes back with the outcome.

It holds the model, its version's digest, the bins of the row's probabilities, its sensitive groups, the hour, and a
random number that makes it one of its kind; no value of a patient. In bytes, all numbers big-endian:

    format 1 | hour 4 | digest 32 | model 1 + n | bins 1 + n | groups 1 + n | random number 12 to 14 | signature 16

A name or list stands behind its length. The random number fills the whole to a multiple of three bytes, so that
base64url has no padding. The signature is BLAKE2b's own keyed hash (RFC 7693) of all bytes before it.
"""

import base64
import binascii
import hashlib
import secrets
import struct
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import Bundle
from healthrisk.errors import HealthriskError
from healthrisk.receipts import probability_bins
from healthrisk.receipts.groups import SensitiveGroups

FORMAT = 1
SIGNATURE_BYTES = 16
RANDOM_BYTES = 12
NUMBER_BYTES = 16
# More than any receipt has, so that nobody makes us decode a novel.
MAX_CHARACTERS = 1024
_SECONDS = 3600
_HEAD = struct.Struct(">BI32s")
# The kernel is asked for random bytes of a few hundred receipts at once.
_NOISE_BYTES = 4096
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class ReceiptError(HealthriskError):
    """A receipt was not issued with one of the keys, or was altered."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says: `bins` by label of `probability_bins`, `groups` by sensitive column, `hour` since 1970.

    `number` [16 bytes] is a digest of the whole, by which the receipt is known after it has been counted.
    """

    number: bytes
    model: str
    digest: str
    bins: tuple[int, ...]
    groups: tuple[int, ...]
    hour: int


class Issuer:
    """Makes the receipts of one version's answers."""

    def __init__(self, bundle: Bundle, key: bytes) -> None:
        self._groups, self._bins = SensitiveGroups(bundle.spec, bundle.reference), probability_bins.RowBins(bundle.spec)
        self._hash = _keyed(key)
        self._digest = bytes.fromhex(bundle.digest)
        name = bundle.spec.name.encode()
        self._name = bytes([len(name)]) + name
        said = 2 + len(probability_bins.labels(bundle.spec)) + len(self._groups.names)
        fixed = _HEAD.size + len(self._name) + said + SIGNATURE_BYTES
        self._random_bytes = RANDOM_BYTES + -(fixed + RANDOM_BYTES) % 3
        self._noise, self._used = b"", 0
        self._begin(0)

    def issue(self, matrix: NDArray[np.float64], probabilities: NDArray[np.float32]) -> list[str]:
        """Return a receipt for each row of an encoded matrix [rows, features] and its probabilities [rows, classes]."""
        if (hour := int(time.time()) // _SECONDS) != self._hour:
            self._begin(hour)
        whole = []
        for bins, groups in zip(self._bins.of(probabilities), self._groups.places(matrix), strict=True):
            own = bytes((len(bins), *bins, len(groups), *groups)) + self._random()
            signed = self._begun.copy()
            signed.update(own)
            whole.append(self._head + own + signed.digest())
        text = binascii.b2a_base64(b"".join(whole), newline=False).translate(_URL_SAFE).decode()
        width = len(text) // len(whole)
        return [text[start : start + width] for start in range(0, len(text), width)]

    def _begin(self, hour: int) -> None:
        """Write and sign what all receipts of an hour begin with."""
        self._hour, self._head = hour, _HEAD.pack(FORMAT, hour, self._digest) + self._name
        self._begun = self._hash.copy()
        self._begun.update(self._head)

    def _random(self) -> bytes:
        if self._used + self._random_bytes > len(self._noise):
            self._noise, self._used = secrets.token_bytes(_NOISE_BYTES), 0
        begin, self._used = self._used, self._used + self._random_bytes
        return self._noise[begin : self._used]


class Reader:
    """Reads receipts that were signed with one of several keys."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._hashes = [_keyed(key) for key in keys]

    def read(self, text: str) -> Receipt:
        """Return what a receipt says.

        Raises:
            ReceiptError: it is none, or bears no signature by one of the keys.
        """
        if len(text) > MAX_CHARACTERS:
            raise ReceiptError(f"a receipt has at most {MAX_CHARACTERS} characters, this has {len(text)}")
        try:
            raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise ReceiptError("not a receipt: expected base64url") from None
        body, signature = raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]
        if not any(secrets.compare_digest(_sign(keyed, body), signature) for keyed in self._hashes):
            raise ReceiptError("its signature is by none of the keys: it was forged, altered or cut")
        return _parse(body, _number(raw))


def number_of(text: str) -> bytes:
    """Return the number of a receipt that was just issued, or is taken for one.

    Raises:
        ReceiptError: it is not base64url.
    """
    try:
        return _number(base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error):
        raise ReceiptError("not a receipt: expected base64url") from None


def _number(raw: bytes) -> bytes:
    # Of the bytes: base64 has two alphabets, and a receipt in the other one is the same receipt.
    return hashlib.blake2b(raw, digest_size=NUMBER_BYTES).digest()


def _keyed(key: bytes) -> "hashlib.blake2b":
    # A key of any length becomes one of BLAKE2b's largest.
    return hashlib.blake2b(key=hashlib.blake2b(key, person=b"receipt").digest(), digest_size=SIGNATURE_BYTES)


def _sign(keyed: "hashlib.blake2b", body: bytes) -> bytes:
    signed = keyed.copy()
    signed.update(body)
    return signed.digest()


def _parse(body: bytes, number: bytes) -> Receipt:
    """Read the bytes of a receipt whose signature is good."""
    if body[0] != FORMAT:
        raise ReceiptError(f"a receipt of format {body[0]}: this version reads format {FORMAT}")
    _, hour, digest = _HEAD.unpack_from(body)
    parts, position = [], _HEAD.size
    for _ in range(3):
        end = position + 1 + body[position]
        parts.append(body[position + 1 : end])
        position = end
    model, bins, groups = parts
    return Receipt(number, model.decode(), digest.hex(), tuple(bins), tuple(groups), hour)
