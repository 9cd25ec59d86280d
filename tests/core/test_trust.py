"""Real keys (host.keys): a toy signature would prove a toy. Made from fixed seeds, so each run is the same."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import BadSignature, Invalid, SkerryError, TooLarge, WrongDigest
from skerry.core.manifest import Manifest
from skerry.core.names import Digest
from skerry.core.trust import DOMAIN, MAX_SIGNATURES, Trust, key_id, message, read_signatures, write_signatures
from skerry.host.ed25519 import PrivateKey
from skerry.host.keys import verify
from tests.core.values import DIGEST, OTHER, json_values, manifest_json

OURS, THEIRS = (PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2))
MANIFEST = Manifest.read(manifest_json())
DATA = MANIFEST.canonical
SIGNATURE = OURS.sign(message(DATA))
TRUST = Trust((OURS.public,), verify)


def sig_file(signatures):
    """Return the bytes of a signature file."""
    return json.dumps(write_signatures(signatures)).encode()


SIGNED = sig_file({key_id(OURS.public): SIGNATURE})


def flipped(data, bit):
    """Return `data` with one bit turned."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_what_a_trusted_key_signed_is_believed():
    assert TRUST.manifest(DATA, SIGNED) == MANIFEST
    assert TRUST.manifest(DATA, SIGNED, MANIFEST.digest) == MANIFEST


def test_one_trusted_signature_among_others_is_enough():
    both = sig_file({key_id(THEIRS.public): THEIRS.sign(message(DATA)), key_id(OURS.public): SIGNATURE})
    for keys in ((OURS.public,), (THEIRS.public,), (THEIRS.public, OURS.public)):
        assert Trust(keys, verify).manifest(DATA, both) == MANIFEST


def test_no_bit_of_a_manifest_can_be_turned():
    for bit in range(8 * len(DATA)):
        with pytest.raises((BadSignature, Invalid)):
            pytest.fail(f"bit {bit}: {TRUST.manifest(flipped(DATA, bit), SIGNED)}")


def test_no_bit_of_a_signature_can_be_turned():
    for bit in range(8 * len(SIGNATURE)):
        with pytest.raises(BadSignature):
            pytest.fail(f"bit {bit}: {TRUST.manifest(DATA, sig_file({key_id(OURS.public): flipped(SIGNATURE, bit)}))}")


def test_a_bit_turned_in_the_signature_file_gives_the_same_signature_or_none():
    """Base64 of 64 bytes has four bits to spare and JSON has spaces; nothing else may be turned unseen."""
    for bit in range(8 * len(SIGNED)):
        changed = flipped(SIGNED, bit)
        try:
            TRUST.manifest(DATA, changed)
        except BadSignature:
            continue
        assert read_signatures(changed)[key_id(OURS.public)] == SIGNATURE


@pytest.mark.parametrize("length", range(0, len(SIGNED), 7))
def test_a_signature_file_that_was_cut_is_refused(length):
    with pytest.raises(BadSignature):
        TRUST.manifest(DATA, SIGNED[:length])


@pytest.mark.parametrize("signature", [b"", SIGNATURE[:-1], SIGNATURE + b"\0", bytes(64), OURS.sign(DATA)])
def test_what_is_no_signature_of_this_message_is_refused(signature):
    with pytest.raises(BadSignature):
        TRUST.manifest(DATA, sig_file({key_id(OURS.public): signature}))


def test_another_publishers_key_is_refused_and_both_are_named():
    signed = sig_file({key_id(THEIRS.public): THEIRS.sign(message(DATA))})
    with pytest.raises(
        BadSignature, match=rf"signed by '{key_id(THEIRS.public)}'; trusted here: {key_id(OURS.public)}"
    ):
        TRUST.manifest(DATA, signed)


def test_another_publishers_signature_under_our_name_is_refused():
    with pytest.raises(BadSignature):
        TRUST.manifest(DATA, sig_file({key_id(OURS.public): THEIRS.sign(message(DATA))}))


def test_who_trusts_nobody_believes_nothing():
    with pytest.raises(BadSignature, match="trusted here: none"):
        Trust((), verify).manifest(DATA, SIGNED)
    with pytest.raises(BadSignature, match="signed by nobody"):
        TRUST.manifest(DATA, sig_file({}))


def test_another_bundle_than_the_one_asked_for_is_refused():
    with pytest.raises(WrongDigest, match=f"expected {OTHER}; got {MANIFEST.digest}"):
        TRUST.manifest(DATA, SIGNED, Digest(OTHER))


def test_a_signature_for_another_use_is_none_for_a_manifest():
    assert message(b"x") == DOMAIN + b"x"
    assert key_id(OURS.public) != key_id(THEIRS.public)
    assert len(key_id(OURS.public)) == 16


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), st.binary()))
def test_a_signature_file_comes_back(signatures):
    assert read_signatures(sig_file(signatures)) == signatures


@given(st.binary() | json_values.map(lambda v: json.dumps(v).encode()))
def test_what_is_no_signature_file_is_a_bad_signature(data):
    with pytest.raises(BadSignature, match="signature file: "):
        read_signatures(data)


@given(st.dictionaries(st.text(max_size=4), json_values, max_size=3))
def test_arbitrary_signatures_raise_skerry_errors_alone(entries):
    with pytest.raises(SkerryError):
        TRUST.manifest(DATA, json.dumps({"signatures": entries}).encode())


@pytest.mark.parametrize("text", ["é", "not base64!", "YQ", 5, None, True, ["YQ=="]])
def test_what_is_not_base64_is_a_bad_signature(text):
    with pytest.raises(BadSignature, match="signature file: "):
        read_signatures(json.dumps({"signatures": {"k": text}}).encode())


def test_a_signature_file_has_a_limit():
    with pytest.raises(TooLarge, match="signature file"):
        read_signatures(b" " * (MAX_SIGNATURES + 1))


def test_a_signed_manifest_that_is_malformed_is_invalid():
    data = json.dumps({**MANIFEST.json(), "schema": 2}).encode()
    with pytest.raises(Invalid, match=r"manifest\.schema"):
        TRUST.manifest(data, sig_file({key_id(OURS.public): OURS.sign(message(data))}))


def test_a_file_is_the_one_that_the_manifest_names():
    TRUST.file(MANIFEST, "model.onnx", 1000, Digest(DIGEST))


@pytest.mark.parametrize(
    ("path", "size", "digest", "text"),
    [
        ("model.onnx", 1001, DIGEST, "file model.onnx: expected 1000 bytes"),
        ("model.onnx", 1000, OTHER, "got 1000 bytes sha256:ffff"),
        ("other.onnx", 1000, DIGEST, "its manifest lists no file 'other.onnx'"),
    ],
)
def test_any_other_file_is_refused(path, size, digest, text):
    with pytest.raises(WrongDigest, match=text):
        TRUST.file(MANIFEST, path, size, Digest(digest))


def test_the_key_library_is_never_asked_about_what_cannot_be_a_signature():
    for signature in (b"", SIGNATURE[:-1], SIGNATURE + b"\0"):
        with pytest.raises(BadSignature):
            Trust((OURS.public,), lambda *_: True).manifest(DATA, sig_file({key_id(OURS.public): signature}))


def test_the_key_library_is_asked_about_the_very_bytes():
    asked = []
    trust = Trust((b"k" * 32,), lambda *given: bool(asked.append(given)) or True)
    trust.manifest(DATA, sig_file({key_id(b"k" * 32): SIGNATURE}))
    assert asked == [(b"k" * 32, SIGNATURE, DOMAIN + DATA)]
    assert base64.b64encode(SIGNATURE).decode() in SIGNED.decode()
