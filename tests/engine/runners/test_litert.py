"""What LiteRT alone must keep; what every runner must is in test_conformance.py."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import LoadFailed
from skerry.engine.known import runtimes
from skerry.engine.runners.litert_file import operators
from skerry.engine.runners.runner import Threads, Wish
from skerry.engine.runners.table import open_runner

pytestmark = pytest.mark.skipif("litert" not in runtimes(), reason="ai_edge_litert is not installed")


def adder(path, **wishes):
    from tests.engine.runners.lite import adder_tflite

    return adder_tflite(path, **wishes)


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (("x", "x", "y", "y"), ["x", "x#1", "y", "y#1"]),
        (("", "", "", "out"), ["input_0", "input_1", "output_0", "out"]),
        (("serving_x:0", "a/b", "c", "d"), ["serving_x:0", "a/b", "c", "d"]),
    ],
)
def test_names_are_the_files_own_and_unique(tmp_path, names, want):
    runner = open_runner("litert", adder(tmp_path / "a.tflite", names=names), Threads())
    assert [spec.name for spec in (*runner.inputs, *runner.outputs)] == want


def test_a_fixed_model_has_a_fixed_shape(tmp_path):
    runner = open_runner("litert", adder(tmp_path / "a.tflite", free=False), Threads())
    assert {spec.shape for spec in (*runner.inputs, *runner.outputs)} == {(1, 3)}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"xnnpack": 1}, "runtime.xnnpack: expected true or false"),
        ({"providers": []}, "unknown options providers"),
        ({"delegate_options": {"a": 1}}, "expected a string"),
    ],
)
def test_options_that_are_wrong_are_named(tmp_path, options, text):
    with pytest.raises(LoadFailed, match=text):
        open_runner("litert", adder(tmp_path / "a.tflite"), Threads(), Wish(options=options))


def test_operators_are_read_and_broken_bytes_are_load_failed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operators")
    whole = adder(folder / "a.tflite").read_bytes()
    assert operators(folder / "a.tflite") == {0, 41}  # ADD, SUB

    @given(st.binary(min_size=1, max_size=80), st.integers(1, len(whole)))
    def any_bytes(noise, size):
        for data in (noise, whole[:size]):
            (folder / "f").write_bytes(data)
            with contextlib.suppress(LoadFailed):
                operators(folder / "f")

    any_bytes()
