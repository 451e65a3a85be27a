"""The keyed digest of a row of values: the same for the same values, and nothing to whoever has no key.

It is BLAKE2b's own keyed hash (RFC 7693). A key that is destroyed leaves digests that are of nobody's values.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 16
_ID_BYTES = 8


class KeyedDigest:
    """Digests by one key. `key_id` names the key without saying it."""

    def __init__(self, key: bytes) -> None:
        own = hashlib.blake2b(key, person=b"record").digest()
        self.key_id = hashlib.blake2b(b"id", key=own, digest_size=_ID_BYTES).hexdigest()
        self._hash = hashlib.blake2b(key=own, digest_size=DIGEST_BYTES)

    def of(self, matrix: NDArray[Any]) -> list[str]:
        """Return the digest of each row of an encoded matrix [rows, features], as hexadecimal digits.

        A value is what it equals: there is one zero, and one missing.
        """
        canonical = matrix.astype(np.float64) + 0.0
        canonical[np.isnan(canonical)] = np.nan
        digests = []
        for row in canonical:
            own = self._hash.copy()
            own.update(row.tobytes())
            digests.append(own.hexdigest())
        return digests
