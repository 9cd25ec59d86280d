"""ONNX as a source: what it needs done is done and proven, what cannot be is named."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from skerry.core.errors import Invalid, LoadFailed, SkerryError, TooLarge
from skerry.forge.importers.bring import bring
from skerry.forge.importers.onnx_checks import opset
from skerry.forge.importers.what import MAX_MODEL, Import
from tests.data import DATA, needs
from tests.models import adder_onnx, brightness_onnx


def quiet(_: str) -> None:
    pass


def save(path: Path, nodes: list[onnx.NodeProto], opset_version: int = 17, domain: str = "") -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")],
    )
    sets = [helper.make_opsetid("", opset_version)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    path.write_bytes(helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())
    return path


def test_a_file_that_needs_nothing_keeps_its_bytes(tmp_path: Path) -> None:
    path = adder_onnx(tmp_path / "a.onnx")
    found = bring(path, Import(), quiet)
    assert found.runtime == "onnx"
    assert found.data == path.read_bytes()
    assert found.parity.inputs == 6
    assert found.provenance.source.startswith("sha256:")
    assert [spec.shape for spec in found.inputs] == [(-1, 3), (-1, 3)]


def test_a_free_dimension_is_fixed_and_follows_through(tmp_path: Path) -> None:
    found = bring(adder_onnx(tmp_path / "a.onnx"), Import(shapes={"x": (2, 3)}), quiet)
    assert [spec.shape for spec in (*found.inputs, *found.outputs)] == [(2, 3)] * 4
    for shapes, text in (
        ({"x": (2, 4)}, "dimension 1 is 3"),
        ({"x": (2,)}, "has 2 dimensions"),
        ({"z": (2, 3)}, "no input 'z'; it has x, y"),
        ({"x": (2, 3), "y": (3, 3)}, "cannot be 2 and 3"),
        ({"x": (-1, -1)}, "stays so"),
    ):
        with pytest.raises(Invalid, match=text):
            bring(tmp_path / "a.onnx", Import(shapes=shapes), quiet)


def test_given_inputs_are_what_it_is_proven_on(tmp_path: Path) -> None:
    arrays = {"x": np.ones((7, 3), np.float32), "y": np.ones((7, 3), np.float32)}
    found = bring(adder_onnx(tmp_path / "a.onnx"), Import(inputs=arrays), quiet)
    assert found.parity.shapes == ("x[7,3] y[7,3]",)
    assert not found.parity.made_up


def test_external_data_comes_into_the_file(tmp_path: Path) -> None:
    path = brightness_onnx(tmp_path / "b.onnx")
    model = onnx.load(path)
    onnx.save_model(model, tmp_path / "c.onnx", save_as_external_data=True, location="c.bin", size_threshold=0)
    found = bring(tmp_path / "c.onnx", Import(), quiet)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "d.onnx").write_bytes(found.data)
    assert bring(alone / "d.onnx", Import(), quiet).data == found.data
    (tmp_path / "c.bin").write_bytes((tmp_path / "c.bin").read_bytes()[:-4])
    with pytest.raises(LoadFailed, match=r"c.bin has \d+ bytes"):
        bring(tmp_path / "c.onnx", Import(), quiet)
    (tmp_path / "c.bin").unlink()
    with pytest.raises(LoadFailed, match=r"no file c\.bin"):
        bring(tmp_path / "c.onnx", Import(), quiet)


@pytest.mark.parametrize("location", ["/etc/passwd", "../../secret", ""])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    model = onnx.load(save(tmp_path / "a.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])]))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "b.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Invalid, match="expected a file in"):
        bring(tmp_path / "b.onnx", Import(), quiet)


def test_more_than_two_gigabytes_of_external_data_are_refused_unread(tmp_path: Path) -> None:
    model = onnx.load(save(tmp_path / "a.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])]))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="hole.bin")
    with (tmp_path / "hole.bin").open("wb") as file:
        file.truncate(MAX_MODEL + 1)
    (tmp_path / "b.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(TooLarge, match="with its external data"):
        bring(tmp_path / "b.onnx", Import(), quiet)


def test_unknown_and_custom_operators_are_named(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Inner", [], ["z"], domain="acme")],
        "b",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    for nodes, domain, text in (
        ([helper.make_node("Wobble", ["x"], ["y"])], "", "'Wobble', which ONNX"),
        ([helper.make_node("Wobble", ["x"], ["y"], domain="acme")], "acme", "'Wobble' of domain 'acme'"),
        ([helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)], "acme", "'Inner' of domain"),
    ):
        with pytest.raises(LoadFailed, match=text):
            bring(save(tmp_path / "a.onnx", nodes, domain=domain), Import(), quiet)


def test_old_operators_are_converted_up(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], 7)
    said: list[str] = []
    found = bring(path, Import(), said.append)
    assert opset(onnx.load_model_from_string(found.data)) == 18
    assert any("from version 7 to 18" in line for line in said)


def test_constants_are_not_inputs(tmp_path: Path) -> None:
    model = onnx.load(save(tmp_path / "a.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])]))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]))
    (tmp_path / "b.onnx").write_bytes(model.SerializeToString())
    found = bring(tmp_path / "b.onnx", Import(), quiet)
    assert [spec.name for spec in found.inputs] == ["x"]
    assert [v.name for v in onnx.load_model_from_string(found.data).graph.input] == ["x"]


def test_a_model_that_the_checker_refuses(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", [helper.make_node("MatMul", ["x", "nowhere"], ["y"])])
    with pytest.raises(LoadFailed, match="checker refuses"):
        bring(path, Import(), quiet)


@needs("winml_squeezenet_mnist")
@pytest.mark.parametrize("name", ["winml_squeezenet_mnist/mnist.onnx", "fastestdet/FastestDet.onnx"])
def test_real_models_of_old_opsets(name: str) -> None:
    found = bring(DATA / name, Import(), quiet)
    assert opset(onnx.load_model_from_string(found.data)) == 18
    assert max(d.maximum for d in found.parity.outputs) < 1e-4


@given(place=st.integers(0, 1 << 16), value=st.integers(0, 255), cut=st.booleans())
def test_a_broken_file_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    data = bytearray(adder_onnx(folder / "whole.onnx").read_bytes())
    place %= len(data)
    broken = data[:place] if cut else data
    if not cut:
        broken[place] = value
    (folder / "broken.onnx").write_bytes(broken)
    with contextlib.suppress(SkerryError):
        bring(folder / "broken.onnx", Import(), quiet)
