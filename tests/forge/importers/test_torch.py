"""PyTorch as a source: proven exports, the same bytes each time, and files that would run something refused."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid, LoadFailed, NotFound, SkerryError
from skerry.forge.importers.bring import bring
from skerry.forge.importers.torch_checks import checked_program
from skerry.forge.importers.torch_sizes import harmless
from skerry.forge.importers.torch_source import read_program, read_weights
from skerry.forge.importers.what import Import
from tests.forge.importers.nets import Memory, Pictures, save_program

NETS = str(Path(__file__).with_name("nets.py"))


def quiet(_: str) -> None:
    pass


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write a program archive again with other contents, by names without the top folder."""
    with zipfile.ZipFile(path) as archive:
        top = archive.namelist()[0].split("/")[0]
        files = {n.removeprefix(f"{top}/"): archive.read(n) for n in archive.namelist()}
    change(files)
    out = path.with_name("changed.pt2")
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"{top}/{name}", data)
    return out


def test_a_program_with_free_dimensions_is_proven_on_two_sizes(tmp_path: Path) -> None:
    path = save_program(tmp_path / "a.pt2")
    found = bring(path, Import(), quiet)
    assert [(s.name, s.shape) for s in found.inputs] == [("x", (-1, -1)), ("scale", (1,))]
    assert [(s.name, s.shape) for s in found.outputs] == [("output", (-1,))]
    assert found.parity.shapes == ("x[1,1] scale[1]", "x[3,5] scale[1]")
    assert found.provenance.framework == "pytorch"
    assert bring(path, Import(), quiet).data == found.data
    for secret in (str(tmp_path), str(Path(__file__).parent), "nets.py", "torch/"):
        assert secret.encode() not in found.data
    model = onnx.load_model_from_string(found.data)
    constants = {tensor.name for tensor in model.graph.initializer}
    assert not constants & {value.name for value in model.graph.value_info}
    with pytest.raises(Invalid, match="has its shapes in it"):
        bring(path, Import(shapes={"x": (1, 2)}), quiet)


def test_a_function_builds_the_module_and_weights_are_read_carefully(tmp_path: Path) -> None:
    net = Pictures()
    with torch.no_grad():
        net.dense.bias.fill_(7)
    torch.save(net.state_dict(), tmp_path / "w.pt")
    wishes = Import(shapes={"image": (-1, 3, 8, 8)}, weights=tmp_path / "w.pt")
    found = bring(f"{NETS}:pictures", wishes, quiet)
    assert [(s.name, s.shape) for s in found.outputs] == [("scores", (-1, 5)), ("best", (-1,))]
    assert found.parity.outputs[1].unequal == 0
    bias = [t for t in onnx.load_model_from_string(found.data).graph.initializer if tuple(t.dims) == (5,)]
    assert (onnx.numpy_helper.to_array(bias[0]) == 7).all()


def test_a_gru_answers_as_in_pytorch() -> None:
    """Exporters of before 2026 wrote the reset gate in the wrong place: up to 14 % off, silently."""
    found = bring(f"{NETS}:memory", Import(shapes={"x": (-1, 6, 4), "state": (1, -1, 8)}), quiet)
    assert [s.name for s in found.outputs] == ["output_0", "output_1"]
    assert max(d.maximum for d in found.parity.outputs) < 1e-5
    step = bring(f"{NETS}:memory", Import(shapes={"x": (1, 1, 4), "state": (1, 1, 8)}), quiet)
    assert max(d.maximum for d in step.parity.outputs) < 1e-5


def test_what_a_function_lacks_is_said(tmp_path: Path) -> None:
    shape = Import(shapes={"image": (1, 3, 8, 8)})
    for source, wishes, kind, text in (
        (f"{NETS}:pictures", Import(), Invalid, "give inputs, or shapes"),
        (f"{NETS}:nothing", shape, NotFound, "no function 'nothing'"),
        (f"{NETS}:not_a_module", shape, Invalid, "expected a torch.nn.Module; got int"),
        ("no_such_module:build", shape, NotFound, "no_such_module"),
        (f"{tmp_path}/none.py:build", shape, NotFound, "no such file"),
        (f"{NETS}:pictures", Import(shapes={"image": (1, 4, 8, 8)}), LoadFailed, "cannot trace it"),
        (f"{NETS}:pictures", Import(shapes={"picture": (1, 3, 8, 8)}), LoadFailed, "picture"),
    ):
        with pytest.raises(kind, match=text):
            bring(source, wishes, quiet)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("evil-was-here",))


def test_weights_that_are_none_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net = Pictures()
    good = net.state_dict()
    cases: list[tuple[object, str]] = [
        (net, "could run anything"),
        ({"x": Evil()}, "could run anything"),
        ([1, 2], "expected a state dict"),
        ({k: v for k, v in good.items() if k != "dense.bias"}, "dense.bias is missing"),
        (good | {"more": torch.zeros(1)}, "more is strange"),
        (good | {"dense.bias": torch.zeros(6)}, r"dense.bias has shape \[6\], expected \[5\]"),
    ]
    for value, text in cases:
        torch.save(value, tmp_path / "w.pt")
        with pytest.raises(Invalid, match=text):
            read_weights(tmp_path / "w.pt", net)
    torch.save(good, tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LoadFailed, match="truncated"):
        read_weights(tmp_path / "w.pt", net)
    assert not (tmp_path / "evil-was-here").exists()


def evil_zip() -> bytes:
    out = io.BytesIO()
    torch.save(Evil(), out)
    return out.getvalue()


def change_json(name: str, change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def do(files: dict[str, bytes]) -> None:
        value = json.loads(files[name])
        change(value)
        files[name] = json.dumps(value).encode()

    return do


def pickled_constant(files: dict[str, bytes]) -> None:
    entry = {"path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    files["data/constants/model_constants_config.json"] = json.dumps({"config": {"t": entry}}).encode()
    files["data/constants/tensor_0"] = evil_zip()


def opaque_constant(files: dict[str, bytes]) -> None:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}
    files["data/constants/model_constants_config.json"] = json.dumps({"config": {"t": entry}}).encode()
    files["data/constants/opaque_obj_0"] = pickle.dumps(Evil())


def wild_view(files: dict[str, bytes]) -> None:
    meta = {
        "dtype": 7, "sizes": [{"as_int": 1000}], "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0},
        "device": {"type": "cpu", "index": None}, "requires_grad": False, "layout": 7,
    }  # fmt: skip
    entry = {"path_name": "tensor_0", "is_param": False, "use_pickle": False, "tensor_meta": meta}
    files["data/constants/model_constants_config.json"] = json.dumps({"config": {"t": entry}}).encode()
    files["data/constants/tensor_0"] = bytes(16)


def target(graph: Any) -> None:
    graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.serialization.os.system"


def size(graph: Any) -> None:
    values = graph["graph_module"]["graph"]["tensor_values"]
    values["x"]["sizes"][0]["as_expr"]["expr_str"] = "__import__('os').mkdir('evil-was-here')"


def tree(graph: Any) -> None:
    text = '[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'
    graph["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = text


def compiled(files: dict[str, bytes]) -> None:
    files["data/aotinductor/model/x.so"] = b"\x7fELF"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (pickled_constant, "pickled, which could run anything"),
        (opaque_constant, "no plain tensor"),
        (wild_view, "too short"),
        (lambda files: files.update({"data/sample_inputs/model.pt": evil_zip()}), "example inputs are not plain"),
        (change_json("models/model.json", target), "os.system"),
        (change_json("models/model.json", size), "no plain expression"),
        (change_json("models/model.json", tree), "no tree of plain containers"),
        (compiled, "compiled code"),
        (lambda files: files.update({"models/other.json": b"{}"}), "several models"),
        (lambda files: files.update({"byteorder": b"big"}), "little-endian"),
        (lambda files: files.update({"models/model.json": b"[" * 5000}), "nested deeper than"),
    ],
)
def test_a_program_that_would_run_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, bytes]], None], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = rewritten(save_program(tmp_path / "a.pt2"), change)
    with pytest.raises(SkerryError, match=text):
        bring(path, Import(), quiet)
    assert not (tmp_path / "evil-was-here").exists()


def test_guards_and_traces_do_not_come_through(tmp_path: Path) -> None:
    def guard(graph: Any) -> None:
        graph["guards_code"] = ["__import__('os').mkdir('evil-was-here')"]

    path = rewritten(save_program(tmp_path / "a.pt2"), change_json("models/model.json", guard))
    data = checked_program(path)
    assert b"evil" not in data
    assert b"nets.py" not in data
    model = read_program(path)
    answers = model.answer({"x": np.ones((2, 3), np.float32), "scale": np.full(1, 2, np.float32)})
    assert answers["output"].tolist() == [6.0, 6.0]


def test_a_custom_operator_is_named(tmp_path: Path) -> None:
    def custom(graph: Any) -> None:
        graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.acme.wobble.default"

    path = rewritten(save_program(tmp_path / "a.pt2"), change_json("models/model.json", custom))
    with pytest.raises(LoadFailed, match=r"operators that cannot be brought in: 'torch\.ops\.acme\.wobble"):
        bring(path, Import(), quiet)


@pytest.mark.parametrize(
    ("text", "well"),
    [
        ("Symbol('s77', positive=True, integer=True)", True),
        ("Add(Mul(Integer(2), Symbol('s0', positive=True, integer=True)), Integer(-1))", True),
        ("FloorDiv(s0 + 1, 2)", True),
        ("Pow(Symbol('s0'), Integer(2))", True),
        ("s0**2", True),
        ("Pow(Integer(9), Pow(Integer(9), Integer(9)))", False),
        ("9**9**9", False),
        ("LShift(Integer(1), Integer(99999999))", False),
        ("factorial(99999)", False),
        ("(factorial)(99999)", False),
        ("().__class__", False),
        ("Symbol('x y')", False),
        ("[1]", False),
        ("lambda: 1", False),
        ("(" * 100 + "1" + ")" * 100, False),
        ("1\n2", False),
        ("f'{1}'", False),
        ("9" * 4000, False),
        (3, False),
    ],
)
def test_only_plain_expressions_reach_sympy(text: object, well: bool) -> None:
    assert harmless(text) is well


@pytest.mark.filterwarnings("ignore:The tensor attributes")
def test_a_gru_program_is_read_back(tmp_path: Path) -> None:
    net = Memory().eval()
    inputs = (torch.randn(1, 6, 4), torch.zeros(1, 1, 8))
    torch.export.save(torch.export.export(net, inputs), tmp_path / "g.pt2")
    model = read_program(tmp_path / "g.pt2")
    assert model.inputs == ("x", "state")
    with torch.no_grad():
        want = net(*inputs)[0].numpy()
    got = model.answer({"x": inputs[0].numpy(), "state": inputs[1].numpy()})
    assert np.abs(got["output_0"] - want).max() < 1e-6


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all plain values in a JSON value."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for key, one in inner for found in leaves(one, (*path, key))]
    return [path]


STRANGE = [None, 0, -1, 2**31, 2**62, 1e308, "", "x", [], {}, True, "s77", {"as_int": 5}, "torch.ops.aten.add.Tensor"]


@settings(max_examples=80)
@given(
    places=st.lists(st.tuples(st.integers(0, 1 << 20), st.sampled_from(STRANGE)), min_size=1, max_size=3),
)
def test_a_program_with_strange_values_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, Any]]
) -> None:
    whole = tmp_path_factory.getbasetemp() / "whole" / "a.pt2"
    if not whole.exists():
        whole.parent.mkdir()
        save_program(whole)

    def spoil(value: Any) -> None:
        for number, strange in places:
            paths = leaves(value)
            one = value
            *above, last = paths[number % len(paths)]
            for key in above:
                one = one[key]
            one[last] = copy.deepcopy(strange)

    path = rewritten(whole, change_json("models/model.json", spoil))
    with contextlib.suppress(SkerryError):
        read_program(path)
