"""Key pairs that sign bundles, and the environment of who signs and who believes."""

from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True)
class KeyPair:
    """A private key and its public one, in PEM."""

    private: str
    public: str

    @property
    def signs(self) -> dict[str, str]:
        """The environment of who signs."""
        return {"HEALTHRISK_BUNDLE_SIGNING_KEY": self.private}

    @property
    def believes(self) -> dict[str, str]:
        """The environment of who believes this key."""
        return {"HEALTHRISK_BUNDLE_PUBLIC_KEY": self.public}


@cache
def key_pair(number: int = 1, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> KeyPair:
    """Return a key pair: the same for the same number."""
    private = ec.derive_private_key(number + 1000, curve())
    return KeyPair(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    )
