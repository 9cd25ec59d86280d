from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, SkerryError, TooLarge
from skerry.core.fields import canonical
from skerry.core.manifest import MAX_FILE, MAX_MANIFEST, Manifest, digest_of, read_manifest
from skerry.core.tensor import DType
from tests.core.values import DIGEST, OTHER, almost, json_values, manifest_json, manifests, tried

FILE = {"sha256": DIGEST, "size": 1}
GOLDEN = {"input": "model.onnx", "answer": "model.onnx"}
SPEC = {"name": "x", "dtype": "FP32", "shape": [1]}


@given(manifests())
def test_a_manifest_comes_back_with_every_field_that_nobody_knows(value):
    manifest = Manifest.read(value)
    assert manifest.json() == value
    assert Manifest.read(manifest.json()) == manifest


@given(manifests(), st.randoms(use_true_random=False))
def test_the_digest_does_not_know_spaces_or_order(value, random):
    def shuffled(one):
        if isinstance(one, dict):
            keys = list(one)
            random.shuffle(keys)
            return {key: shuffled(one[key]) for key in keys}
        return [shuffled(item) for item in one] if isinstance(one, list) else one

    manifest = Manifest.read(value)
    for text in (manifest.canonical, json.dumps(shuffled(value), indent=3).encode()):
        assert read_manifest(text).digest == manifest.digest
    assert manifest.digest == f"sha256:{hashlib.sha256(canonical(value)).hexdigest()}" == digest_of(manifest.canonical)


@given(manifests(), st.data())
def test_another_manifest_has_another_digest(value, data):
    manifest = Manifest.read(value)
    other = {**value, "description": value["description"] + "!"}
    assert Manifest.read(other).digest != manifest.digest


@given(json_values | almost(manifest_json()))
def test_arbitrary_json_raises_skerry_errors_alone(value):
    manifest = tried(Manifest.read, value)
    if isinstance(manifest, Manifest):
        digest = tried(lambda: manifest.digest)  # none, if an unknown field holds NaN
        assert not isinstance(digest, SkerryError) or str(digest).startswith("canonical JSON")
        assert json.dumps(Manifest.read(manifest.json()).json()) == json.dumps(manifest.json())


@given(st.binary(max_size=64) | json_values.map(lambda v: json.dumps(v).encode()))
def test_arbitrary_bytes_raise_skerry_errors_alone(data):
    with pytest.raises(SkerryError):
        read_manifest(data)


def test_what_may_be_left_out_has_a_default():
    optional = dict.fromkeys(("description", "pre", "post", "labels", "goldens", "needs"), ...)
    manifest = Manifest.read(manifest_json(**optional))
    assert (manifest.description, manifest.pre, manifest.post, manifest.labels, manifest.goldens) == (
        "",
        (),
        (),
        (),
        (),
    )
    assert manifest.needs == {}
    assert Manifest.read(manifest_json(goldens=[GOLDEN])).goldens[0].tolerance == 1e-3


def test_values_are_typed():
    manifest = Manifest.read(manifest_json())
    assert manifest.size == 1030
    assert manifest.inputs[0].dtype is DType.FP32
    assert manifest.inputs[0].shape == (-1, 3, 64, 64)
    assert manifest.pre[0].options == {"width": 64, "height": 64}
    assert manifest.files["model.onnx"].sha256 == DIGEST


WRONG = [
    ({"schema": 2}, "manifest.schema: this version of Skerry reads 1; got 2"),
    ({"schema": ...}, "manifest.schema: expected this field; it is missing"),
    ({"name": "../x"}, "manifest.name: model name: expected"),
    ({"version": 0}, "manifest.version: expected"),
    ({"runtime": "onnx"}, "manifest.runtime: expected an object"),
    ({"runtime": {"name": "onnx", "file": "/x"}}, "manifest.runtime: file: file path: expected a plain"),
    (
        {"runtime": {"name": "onnx", "file": "other.onnx"}},
        "manifest.runtime.file: expected a path listed under 'files'",
    ),
    ({"files": []}, "manifest.files: expected an object"),
    ({"files": {"../model.onnx": FILE}}, "manifest.files: file path: expected a plain relative path"),
    ({"files": {"manifest.json": FILE}}, "manifest.files: 'manifest.json' cannot list itself"),
    ({"files": {"manifest.sig": FILE}}, "manifest.files: 'manifest.sig' cannot list itself"),
    ({"files": {"a": {"sha256": "x", "size": 1}}}, "manifest.files: a.sha256: digest: expected"),
    ({"files": {"a": {"sha256": DIGEST, "size": -1}}}, "manifest.files: a.size: expected a whole number"),
    ({"files": {"a": {"sha256": DIGEST, "size": MAX_FILE + 1}}}, "manifest.files: a.size: expected a whole number"),
    ({"files": {"a": OTHER}}, "manifest.files: a: expected an object"),
    ({"goldens": [{**GOLDEN, "input": "x"}]}, r"manifest.goldens\[0\].input: expected a path listed"),
    ({"goldens": [{**GOLDEN, "answer": "x"}]}, r"manifest.goldens\[0\].answer: expected a path listed"),
    ({"goldens": [{**GOLDEN, "tolerance": -1}]}, r"manifest.goldens\[0\]: tolerance: expected a number"),
    ({"inputs": [SPEC, SPEC]}, "manifest.inputs: expected each name once"),
    ({"outputs": [SPEC, SPEC]}, "manifest.outputs: expected each name once"),
    ({"inputs": [{**SPEC, "layout": "NCHW"}]}, r"manifest.inputs\[0\]: expected name, dtype and shape alone; got also"),
    ({"inputs": [{**SPEC, "dtype": "FP8"}]}, r"manifest.inputs\[0\]: dtype: expected one of BOOL"),
    ({"inputs": [{**SPEC, "shape": [-2]}]}, r"manifest.inputs\[0\]: shape\[0\]: expected a whole number, or -1"),
    ({"inputs": [{**SPEC, "shape": [True]}]}, r"manifest.inputs\[0\]: shape\[0\]: expected a whole number, or -1"),
    ({"inputs": [{**SPEC, "shape": [1] * 17}]}, r"manifest.inputs\[0\]: shape: expected a list of at most 16"),
    ({"labels": [1]}, r"manifest.labels\[0\]: expected a string"),
    ({"pre": [{"width": 1}]}, r"manifest.pre\[0\]: step: expected this field"),
    ({"needs": 5}, "manifest.needs: expected an object"),
]


@pytest.mark.parametrize(("change", "text"), WRONG, ids=lambda v: repr(v)[:40])
def test_what_is_wrong_is_named(change, text):
    with pytest.raises(Invalid, match=text):
        Manifest.read(manifest_json(**change))


def test_a_manifest_has_a_limit():
    with pytest.raises(TooLarge, match=r"manifest.json: expected at most"):
        read_manifest(b" " * (MAX_MANIFEST + 1))
