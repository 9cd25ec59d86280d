"""What a file is, is told by its bytes; what it is not, clearly and at once."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, LoadFailed, NotFound, SkerryError, TooLarge
from skerry.forge.importers.children.keras_config import refusal
from skerry.forge.importers.kinds import Kind, kind_of
from skerry.forge.importers.scan import open_zip
from skerry.forge.importers.tensorflow_source import check_keras, check_saved
from skerry.forge.importers.torch_checks import checked_program
from skerry.forge.importers.what import MAX_MODEL, read_shapes
from tests.data import DATA, needs
from tests.forge.importers.nets import save_program
from tests.models import adder_onnx


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_kinds_are_told_whatever_the_name(tmp_path: Path) -> None:
    assert kind_of(adder_onnx(tmp_path / "model.h5")) is Kind.ONNX
    assert kind_of(save_program(tmp_path / "a.pt2").rename(tmp_path / "model.onnx")) is Kind.PROGRAM
    assert kind_of(zipped(tmp_path / "k", {"config.json": b"{}", "metadata.json": b"{}"})) is Kind.KERAS
    (tmp_path / "h").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(8))
    assert kind_of(tmp_path / "h") is Kind.HDF5
    (tmp_path / "t").write_bytes(b"\x1c\0\0\0TFL3" + bytes(8))
    assert kind_of(tmp_path / "t") is Kind.TFLITE
    assert kind_of("package.module:function") is Kind.FUNCTION
    assert kind_of("some/file.py:function") is Kind.FUNCTION


@needs("tf_serving_models")
def test_a_folder_is_a_saved_model_or_says_where_one_is() -> None:
    folder = DATA / "tf_serving_models" / "matrix_half_plus_two"
    assert kind_of(folder / "1") is Kind.SAVED
    check_saved(folder / "1")
    with pytest.raises(Invalid, match=r"it has one in it: .*/1$"):
        kind_of(folder)


def test_pickles_are_refused_and_say_what_to_do(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "script.pt"))
    (tmp_path / "old.pt").write_bytes(b"\x80\x02}q\0.")
    for name, what in (("whole.pt", "pickle"), ("script.pt", "TorchScript"), ("old.pt", "pickle")):
        with pytest.raises(Invalid, match=what) as caught:
            kind_of(tmp_path / name)
        assert "torch.export.save" in str(caught.value)


def test_what_is_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        kind_of(tmp_path / "nothing.onnx")
    (tmp_path / "picture.onnx").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("picture.onnx", "empty.onnx"):
        with pytest.raises(Invalid, match="not a model that is known"):
            kind_of(tmp_path / name)
    with pytest.raises(Invalid, match="neither"):
        kind_of(zipped(tmp_path / "z", {"readme": b"hello"}))
    with pytest.raises(Invalid, match="expected a model file"):
        kind_of(tmp_path)


def test_a_file_of_two_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_MODEL + 1)  # a hole: it takes no disk
    with pytest.raises(TooLarge, match=str(MAX_MODEL)):
        kind_of(path)


def test_a_truncated_onnx_file_is_named_so(tmp_path: Path) -> None:
    whole = adder_onnx(tmp_path / "a.onnx").read_bytes()
    (tmp_path / "b.onnx").write_bytes(whole[:-20])
    with pytest.raises(LoadFailed, match="truncated"):
        kind_of(tmp_path / "b.onnx")


def test_zip_bombs_are_not_unpacked(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "b", {"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": bytes(20 << 20)})
    with pytest.raises(TooLarge, match="unpacks to"):
        kind_of(bomb)
    many = zipped(tmp_path / "m", {f"f{n}": b"" for n in range(20_001)})
    with pytest.raises(TooLarge, match="20000 files"):
        kind_of(many)
    for name in ("../up", "/root", "a/../../b", "a\\b"):
        with pytest.raises(LoadFailed, match=r"not allowed|broken"):
            kind_of(zipped(tmp_path / "n", {name: b""}))


def test_a_zip_that_lies_about_its_size_is_broken_not_followed(tmp_path: Path) -> None:
    path = zipped(tmp_path / "k", {"config.json": b'{"class_name": "Sequential"}' * 100, "metadata.json": b"{}"})
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02")  # the directory's last entry: metadata.json
    data[place + 24 : place + 28] = (1 << 20).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(SkerryError):
        check_keras(path)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"class_name": "Lambda", "config": {}}, "holds code"),
        ({"class_name": "Dense", "module": "os", "config": {}}, "'os'"),
        ({"class_name": "get_file", "module": "keras.utils", "config": {}}, "keras.utils"),
        ({"class_name": "enable_unsafe_deserialization", "module": "keras.config", "config": {}}, "keras.config"),
        ({"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {}}, "holds code"),
        ({"class_name": "Mine", "module": None, "registered_name": "pkg>Mine", "config": {}}, "pkg>Mine"),
        ({"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}, "from a file"),
        ({"layers": [{"a": [{"class_name": 3}]}]}, "holds code"),
    ],
)
def test_keras_layers_with_code_are_refused(tmp_path: Path, config: dict[str, object], why: str) -> None:
    import json

    inner = {"class_name": "Functional", "module": "keras.src.models.functional", "config": {"layers": [config]}}
    assert why in refusal(inner)
    path = zipped(tmp_path / "k", {"config.json": json.dumps(inner).encode(), "metadata.json": b"{}"})
    with pytest.raises(LoadFailed, match=str(path)):
        check_keras(path)


def test_plain_keras_layers_pass() -> None:
    plain = {"class_name": "Dense", "module": "keras.layers", "registered_name": None, "config": {"activation": "relu"}}
    assert refusal([plain, {"class_name": "Conv2D", "config": {}}]) == ""


def test_a_saved_model_that_reads_files_is_refused(tmp_path: Path) -> None:
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    inner = field(2, field(2, field(1, field(2, b"ReadFile"))))
    (tmp_path / "saved_model.pb").write_bytes(inner)
    with pytest.raises(LoadFailed, match="ReadFile"):
        check_saved(tmp_path)
    in_function = field(2, field(2, field(2, field(1, field(3, field(2, b"EagerPyFunc"))))))
    (tmp_path / "saved_model.pb").write_bytes(in_function)
    with pytest.raises(LoadFailed, match="EagerPyFunc"):
        check_saved(tmp_path)


def test_shapes_are_read_or_named() -> None:
    assert read_shapes(("x=1,3,224,224", "y:0=-1,n")) == {"x": (1, 3, 224, 224), "y:0": (-1, -1)}
    for bad in ("x", "=1", "x=0", "x=1,,2", "x=1.5", "x=9999999"):
        with pytest.raises(Invalid, match="shape"):
            read_shapes((bad,))
    with pytest.raises(Invalid, match="twice"):
        read_shapes(("x=1", "x=2"))


@given(data=st.binary(max_size=400))
def test_no_bytes_crash_the_look(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    for head in (b"", b"PK\x03\x04", b"\x08\x08", b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(head + data)
        with contextlib.suppress(SkerryError):
            kind_of(path)


@given(place=st.integers(0, 1 << 20), value=st.integers(0, 255), cut=st.booleans())
def test_a_broken_program_archive_is_refused_or_whole(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.pt2"
    data = bytearray((whole if whole.exists() else save_program(whole)).read_bytes())
    place %= len(data)
    broken = data[:place] if cut else data
    if not cut:
        broken[place] = value
    (folder / "broken.pt2").write_bytes(broken)
    try:
        with open_zip(io.BytesIO(checked_program(folder / "broken.pt2")), "again") as archive:
            assert archive.namelist()
    except SkerryError:
        pass
