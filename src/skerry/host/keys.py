"""Public keys as text, whom to trust, and tokens. Private keys and their library are in host/ed25519.

A public key is one line of text, `skerry-ed25519 <base64 of the 32 bytes> <comment>`, made to be pasted into a
node's settings.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from skerry.core.errors import Invalid
from skerry.core.trust import PUBLIC_KEY_BYTES, Trust
from skerry.host.files import read

KIND = "skerry-ed25519"
MAX_KEY_FILE = 16 << 10  # bytes; a PKCS#8 Ed25519 key has 119
TOKEN_BYTES = 32  # 256 bits, beyond guessing


class Signer(Protocol):
    """What signs: a private key, wherever it lies."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        ...


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `public` made this signature over this message.

    The library is loaded when it is first needed: it takes 9 MB, which a node that trusts nobody has better uses for.
    """
    found: bool = importlib.import_module("skerry.host.ed25519").verify(public, signature, message)
    return found


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
    data = key_file("public key", path)
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


def key_file(what: str, path: Path) -> bytes | None:
    """Return the bytes of a key's file, None if there is none; raise Invalid for one that cannot be read."""
    try:
        return read(path, MAX_KEY_FILE)
    except OSError as error:  # a folder, or a file that this user may not read
        raise Invalid(f"{what} {path}: {error.strerror}") from None
