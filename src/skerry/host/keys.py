"""Keys: Ed25519 (RFC 8032) in files. The only place that touches the cryptography library.

A private key is PKCS#8 PEM, readable by its owner alone. A public key is one line of text,
`skerry-ed25519 <base64 of the 32 bytes> <comment>`, made to be pasted into a node's settings.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skerry.core.errors import Invalid
from skerry.core.trust import PUBLIC_KEY_BYTES, Trust
from skerry.host.files import PRIVATE, Disk, read

KIND = "skerry-ed25519"
MAX_KEY_FILE = 16 << 10  # bytes; a PKCS#8 Ed25519 key has 119
TOKEN_BYTES = 32  # 256 bits, beyond guessing


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
        data = _bytes("private key", path)
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


def public_line(public: bytes, comment: str = "") -> str:
    """Return a public key as its one line of text."""
    return f"{KIND} {base64.b64encode(public).decode()} {comment}".rstrip() + "\n"


def read_public(text: str) -> bytes:
    """Return the public key in its line of text; raise Invalid if it is none."""
    parts = text.split()
    try:
        key = base64.b64decode(parts[1], validate=True) if parts[:1] == [KIND] and len(parts) > 1 else b""
    except ValueError:  # not base64, or not ASCII
        key = b""
    if len(key) != PUBLIC_KEY_BYTES:
        raise Invalid(f"public key: expected '{KIND} <base64 of 32 bytes> <comment>'")
    return key


def load_public(path: Path) -> bytes:
    """Return the public key in a file; raise Invalid if there is none."""
    data = _bytes("public key", path)
    if data is None:
        raise Invalid(f"public key: no file {path}")
    try:
        return read_public(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise Invalid(f"public key {path}: expected text") from None


def read_trust(texts: Iterable[str]) -> Trust | None:
    """Return whom to trust: each text is a public key's line or a file that holds it. None if nobody was named."""
    found = [read_public(text) if text.startswith(KIND) else load_public(Path(text)) for text in texts]
    return Trust(tuple(found), verify) if found else None


def new_token() -> str:
    """Return a random token that can stand in a URL and a header."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> str:
    """Return what is stored of a token. It is random, so a plain SHA-256 cannot be guessed back."""
    return hashlib.sha256(token.encode()).hexdigest()


def same(one: str, other: str) -> bool:
    """Compare secrets in a time that tells nothing about them."""
    return secrets.compare_digest(one.encode(), other.encode())


def _bytes(what: str, path: Path) -> bytes | None:
    try:
        return read(path, MAX_KEY_FILE)
    except OSError as error:  # a folder, or a file that this user may not read
        raise Invalid(f"{what} {path}: {error.strerror}") from None
