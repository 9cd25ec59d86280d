"""Ed25519 (RFC 8032): private keys in files, and signatures. The only place that touches the cryptography library.

A private key is PKCS#8 PEM, readable by its owner alone.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skerry.core.errors import Invalid
from skerry.host.files import PRIVATE, Disk
from skerry.host.keys import key_file


class PrivateKey:
    """A key that signs."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @staticmethod
    def make() -> PrivateKey:
        """Return a new key."""
        return PrivateKey(Ed25519PrivateKey.generate())

    @staticmethod
    def load(path: Path) -> PrivateKey:
        """Return the key in a file; raise Invalid, never showing the file's content, if there is none."""
        data = key_file("private key", path)
        if data is None:
            raise Invalid(f"private key: no file {path}; make one with 'skerry keys new {path}'")
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise Invalid(f"private key {path}: expected an unencrypted PKCS#8 PEM file") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise Invalid(f"private key {path}: expected an Ed25519 key")
        return PrivateKey(key)

    def save(self, path: Path, disk: Disk) -> None:
        """Write the key to a file that only its owner may read."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        disk.write(path, pem, PRIVATE)

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self._key.sign(message)


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `public` made this signature over this message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
