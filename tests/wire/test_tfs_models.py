from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.core.names import MAX_VERSION
from skerry.core.tensor import DType, Spec
from skerry.wire.tfs_models import SIGNATURE, Signature, Target, metadata, plain_signature, route, status
from tests.core.values import tried
from tests.data import DATA, needs

SET = "tf_serving_models"


@pytest.mark.parametrize(
    ("method", "path", "want"),
    [
        ("POST", "/v1/models/m:predict", Target("m", None, None, "predict")),
        ("POST", "/v1/models/m:Classify", Target("m", None, None, "classify")),
        ("POST", "/V1/MODELS/M/VERSIONS/1:REGRESS", Target("M", 1, None, "regress")),
        ("POST", "/v1/models/m/versions/007:predict", Target("m", 7, None, "predict")),
        ("POST", f"/v1/models/m/versions/{MAX_VERSION}:predict", Target("m", MAX_VERSION, None, "predict")),
        ("POST", "/v1/models/m/labels/stable:predict", Target("m", None, "stable", "predict")),
        ("POST", "/v1/models/a%20b%2Fc/labels/%C3%A9:predict", Target("a b/c", None, "é", "predict")),
        ("POST", "/v1/models/a%zz%:predict", Target("a%zz%", None, None, "predict")),
        ("GET", "/v1/models/m", Target("m", None, None, "status")),
        ("GET", "/v1/models/m/versions/3", Target("m", 3, None, "status")),
        ("GET", "/v1/models/m/labels/x", Target("m", None, "x", "status")),
        ("GET", "/v1/models/m/metadata", Target("m", None, None, "metadata")),
        ("GET", "/v1/models/m/versions/0/METADATA", Target("m", None, None, "metadata")),
        ("GET", "/v1/models/m/labels/x/metadata", Target("m", None, "x", "metadata")),
        ("GET", "/v1/models/metadata", Target("metadata", None, None, "status")),
    ],
)
def test_paths(method, path, want):
    assert route(method, path) == want


MALFORMED = [
    ("POST", "/v1/models/m"), ("POST", "/v1/models/m:explain"), ("POST", "/v1/models/:predict"), ("POST", "/v1/models"),
    ("POST", "/v1/models/m/versions/1/labels/x:predict"), ("POST", "/v1/models/m/versions/x:predict"),
    ("POST", "/v1/models/m/versions/-1:predict"), ("POST", "/v1/models/m/versions/:predict"),
    ("POST", "/v1/models/m/versions/१:predict"), ("POST", "/v1/models/m:predict/"), ("POST", "/v1/models/a/b:predict"),
    ("POST", "/v2/models/m:predict"), ("POST", "/v1/models/m:predict\n"), ("GET", "/v1/models/m:predict"),
    ("GET", "/v1/models/m/"), ("GET", "/v1/models/m/versions/1/labels/x"), ("GET", "/v1/models/m/status"),
    ("PUT", "/v1/models/m:predict"), ("OPTIONS", "/v1/models/m"), ("get", "/v1/models/m"), ("", ""), ("GET", "/v1"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), MALFORMED)
def test_other_paths_are_malformed(method, path):
    with pytest.raises(Invalid) as found:
        route(method, path)
    assert str(found.value) == f"Malformed request: {method} {path}"


@pytest.mark.parametrize(
    "path", ["/v1/models/", "/V1/Models/", "/v1/models/versions/1", "/v1/models/labels/x/metadata"]
)
def test_a_path_may_lack_the_model(path):
    with pytest.raises(Invalid, match=r"^Missing model name in request\.$"):
        route("GET", path)


def test_without_a_model_it_is_a_list():
    assert route("GET", "/v1/models") == route("GET", "/V1/Models") == Target("", None, None, "list")


@pytest.mark.parametrize("digits", [str(MAX_VERSION + 1), "9" * 20, "9" * 5000])
def test_a_version_must_fit_64_bits(digits):
    for method, tail in (("POST", ":predict"), ("GET", "")):
        with pytest.raises(Invalid) as found:
            route(method, f"/v1/models/m/versions/{digits}{tail}")
        assert str(found.value) == f"Failed to convert version: {digits} to numeric."


@given(
    st.sampled_from(["GET", "POST", "HEAD"]),
    st.lists(st.sampled_from(["/v1", "/models", "/m", "/versions", "/1", "/labels", ":predict", "/metadata", "%", "é"]))
    .map("".join) | st.text(max_size=30),
)  # fmt: skip
def test_arbitrary_paths_are_targets_or_invalid(method, path):
    found = tried(route, method, path, refusing=Invalid)
    assert isinstance(found, Target | Invalid)


def test_the_status_of_several_versions():
    found = status([(124, "AVAILABLE", "OK", ""), (123, "END", "INTERNAL", "broken")])
    assert found == {
        "model_version_status": [
            {"version": "124", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
            {"version": "123", "state": "END", "status": {"error_code": "INTERNAL", "error_message": "broken"}},
        ]
    }


def test_metadata_of_a_plain_model():
    inputs, outputs = [Spec("x", DType.FP32, (-1, 3)), Spec("s", DType.BYTES, ())], [Spec("y", DType.BF16, (2,))]
    found = metadata("m", 7, plain_signature(inputs, outputs))
    assert found["model_spec"] == {"name": "m", "signature_name": "", "version": "7"}
    assert list(found["metadata"]["signature_def"]["signature_def"]) == [SIGNATURE]
    one = found["metadata"]["signature_def"]["signature_def"][SIGNATURE]
    assert one["method_name"] == "tensorflow/serving/predict"
    assert one["inputs"]["s"] == {
        "dtype": "DT_STRING", "tensor_shape": {"dim": [], "unknown_rank": False}, "name": "s:0"
    }  # fmt: skip
    assert one["outputs"]["y"]["dtype"] == "DT_BFLOAT16"


def specs(found):
    """Return the specs in TensorFlow Serving's JSON, and how it names their tensors."""
    kinds = {kind.tensorflow: kind for kind in DType}
    return [
        Spec(name, kinds[one["dtype"]], tuple(int(dim["size"]) for dim in one["tensor_shape"]["dim"]))
        for name, one in found.items()
    ]


def unnamed(found):
    """Return metadata without what no Spec holds: tensors' inner names, and that a rank is unknown."""
    for one in found["metadata"]["signature_def"]["signature_def"].values():
        for info in (*one["inputs"].values(), *one["outputs"].values()):
            del info["name"], info["tensor_shape"]["unknown_rank"]
    return found


@needs(SET)
@pytest.mark.parametrize(
    "name", ["half_plus_two_model_metadata.json", "saved_model_half_plus_two_2_versions_metadata.json"]
)
def test_metadata_is_what_tensorflow_serving_writes(name):
    theirs = json.loads((DATA / SET / name).read_text())
    spec, known = theirs["model_spec"], theirs["metadata"]["signature_def"]["signature_def"]
    signatures = {
        key: Signature(specs(one["inputs"]), specs(one["outputs"]), one["method_name"].rsplit("/", 1)[1])
        for key, one in known.items()
    }
    assert unnamed(metadata(spec["name"], int(spec["version"]), signatures)) == unnamed(theirs)
