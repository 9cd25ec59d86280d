from __future__ import annotations

import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError, TooLarge
from skerry.host import keys
from skerry.host.ed25519 import PrivateKey
from skerry.host.files import Disk
from skerry.host.keys import load_public, public_line, read_public, read_trust, same, token_hash, verify
from tests.core.values import tried

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
SECRET = b"hunter2-hunter2"
UNKNOWN = (  # PKCS#8 with the algorithm 1.3.101.200, which nobody has
    b"-----BEGIN PRIVATE KEY-----\n"
    b"MC8CAQAwBgYEK2WBSAQiBCABAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ==\n"
    b"-----END PRIVATE KEY-----\n"
)


def test_a_private_key_comes_back_and_is_its_owners_alone(tmp_path):
    key, path = PrivateKey.make(), tmp_path / "keys" / "key.pem"
    key.save(path, Disk())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = PrivateKey.load(path)
    assert again.public == key.public
    assert verify(key.public, again.sign(b"message"), b"message")


def bad_files():
    """Return what is no private key of ours: name, bytes, what the error says."""
    ours = Ed25519PrivateKey.generate()
    curve = ec.generate_private_key(ec.SECP256R1())
    return [
        ("empty", b"", "unencrypted PKCS#8 PEM"),
        ("text", SECRET, "unencrypted PKCS#8 PEM"),
        ("binary", bytes(range(256)), "unencrypted PKCS#8 PEM"),
        ("torn", b"-----BEGIN PRIVATE KEY-----\n" + SECRET + b"\n-----END PRIVATE KEY-----\n", "unencrypted"),
        ("encrypted", ours.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"x")), "unencrypted"),
        ("unknown", UNKNOWN, "unencrypted PKCS#8 PEM"),
        ("public", ours.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo), "unencrypted"),
        ("curve", curve.private_bytes(PEM, PKCS8, serialization.NoEncryption()), "expected an Ed25519 key"),
    ]


@pytest.mark.parametrize(("name", "data", "text"), bad_files(), ids=lambda v: v if isinstance(v, str) else "")
def test_a_bad_private_key_is_invalid_and_its_content_is_not_shown(tmp_path, name, data, text):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(Invalid, match=text) as caught:
        PrivateKey.load(path)
    assert str(path) in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert SECRET.decode() not in str(caught.value)


@pytest.mark.parametrize("load", [PrivateKey.load, load_public])
def test_a_key_file_that_is_not_there_or_too_large(tmp_path, load):
    with pytest.raises(Invalid, match=f"no file {tmp_path / 'key'}"):
        load(tmp_path / "key")
    with pytest.raises(Invalid, match=f"key {tmp_path}: Is a directory"):
        load(tmp_path)
    (tmp_path / "key").write_bytes(b"x" * (keys.MAX_KEY_FILE + 1))
    with pytest.raises(TooLarge, match="key: expected at most"):
        load(tmp_path / "key")


@given(st.binary(min_size=32, max_size=32), st.text(st.characters(categories=("L", "N", "Zs")), max_size=20))
def test_a_public_key_comes_back_whatever_its_comment(public, comment):
    line = public_line(public, comment)
    assert line.startswith("skerry-ed25519 ")
    assert read_public(line) == public


def test_a_public_key_is_loaded_from_its_file(tmp_path):
    public = PrivateKey.make().public
    (tmp_path / "key.pub").write_text(public_line(public, "ci@example.org"))
    assert load_public(tmp_path / "key.pub") == public


BAD_LINES = [
    "",
    "skerry-ed25519",
    "ssh-ed25519 AAAA",
    "skerry-ed25519 !!!!",
    "skerry-ed25519 é",
    "skerry-ed25519 QUJD",
    "skerry-ed25519 A",
]


@pytest.mark.parametrize("text", BAD_LINES)
def test_what_is_no_public_key_is_invalid(tmp_path, text):
    (tmp_path / "key.pub").write_text(text)
    for read in (lambda: read_public(text), lambda: load_public(tmp_path / "key.pub")):
        with pytest.raises(Invalid, match="public key: expected 'skerry-ed25519 <base64 of 32 bytes> <comment>'"):
            read()


@given(st.text() | st.text().map("skerry-ed25519 {}".format))
def test_arbitrary_text_raises_invalid_alone(text):
    assert isinstance(tried(read_public, text, refusing=Invalid), bytes | Invalid)


def test_a_public_key_file_is_text(tmp_path):
    (tmp_path / "key.pub").write_bytes(b"skerry-ed25519 \xff")
    with pytest.raises(Invalid, match=r"key\.pub: expected text"):
        load_public(tmp_path / "key.pub")


@given(st.binary(max_size=40), st.binary(max_size=70), st.binary(max_size=20))
def test_arbitrary_bytes_are_no_signature(public, signature, message):
    assert verify(public, signature, message) is False


def test_a_signature_is_of_one_key_over_one_message():
    one, other = PrivateKey.make(), PrivateKey.make()
    signature = one.sign(b"m")
    assert verify(one.public, signature, b"m")
    assert not verify(other.public, signature, b"m")
    assert not verify(one.public, signature, b"n")


def test_trust_is_read_from_lines_and_files(tmp_path):
    one, two = PrivateKey.make().public, PrivateKey.make().public
    (tmp_path / "key.pub").write_text(public_line(two))
    trust = read_trust([public_line(one, "ci"), str(tmp_path / "key.pub")])
    assert trust is not None
    assert trust.keys == (one, two)
    assert trust.verify is verify
    assert read_trust([]) is None
    with pytest.raises(Invalid, match="public key: expected"):
        read_trust(["skerry-ed25519 QUJD"])


def test_tokens():
    token = keys.new_token()
    assert token != keys.new_token()
    assert len(token) == 43
    assert len(token_hash(token)) == 64
    assert token_hash(token) == token_hash(token) != token_hash(token + "x")
    assert same(token, token)
    assert not same(token, token[:-1])
    assert not same("é", "e")
    assert issubclass(Invalid, SkerryError)
