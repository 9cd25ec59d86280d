"""TFLite: served as it is, proven in a process of its own; what would end a process ends only that one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid, LoadFailed, SkerryError
from skerry.forge.importers.bring import bring
from skerry.forge.importers.lite import check_lite
from skerry.forge.importers.what import Import
from tests.data import DATA, needs

pytest.importorskip("ai_edge_litert")


def quiet(_: str) -> None:
    pass


@needs("mlperf_tiny")
@pytest.mark.parametrize("name", ["mlperf_tiny/kws_ref_model_int8.tflite", "tflite_micro/trained_lstm.tflite"])
def test_a_file_is_kept_as_it_is(name: str) -> None:
    said: list[str] = []
    found = bring(DATA / name, Import(), said.append)
    assert found.runtime == "litert"
    assert found.data == (DATA / name).read_bytes()
    assert max(d.maximum for d in found.parity.outputs) == 0
    assert any("own kernels" in line for line in said)


@needs("tflite_support")
def test_an_operator_of_litert_itself_is_no_custom_one() -> None:
    check_lite(DATA / "tflite_support" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite")


@needs("tflite_micro")
def test_custom_operators_and_bad_files_are_named() -> None:
    with pytest.raises(LoadFailed, match="custom operators that cannot be run here: 'SignalEnergy'"):
        bring(DATA / "tflite_micro" / "audio_preprocessor_int8.tflite", Import(), quiet)
    with pytest.raises(LoadFailed, match="quantized_dimension"):
        bring(DATA / "tflite_micro" / "person_detect.tflite", Import(), quiet)
    with pytest.raises(LoadFailed, match="ended with status -"):
        bring(DATA / "tflite_micro" / "keyword_scrambled_8bit.tflite", Import(), quiet)


@needs("tflite_micro")
def test_a_tflite_file_has_its_shapes_and_kind(tmp_path: Path) -> None:
    path = DATA / "tflite_micro" / "hello_world_float.tflite"
    with pytest.raises(Invalid, match="as it is"):
        bring(path, Import(shapes={"x": (1,)}), quiet)
    with pytest.raises(Invalid, match="cannot be made from TFLite"):
        bring(path, Import(lite="int8"), quiet)
    (tmp_path / "half").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(LoadFailed):
        bring(tmp_path / "half", Import(), quiet)


@needs("tflite_micro")
@given(place=st.integers(0, 1 << 16), value=st.integers(0, 255), cut=st.booleans())
def test_no_bytes_crash_the_look(tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool) -> None:
    data = bytearray((DATA / "tflite_micro" / "hello_world_float.tflite").read_bytes())
    place %= len(data)
    broken = data[:place] if cut else data
    if not cut:
        broken[place] = value
    path = tmp_path_factory.getbasetemp() / "broken.tflite"
    path.write_bytes(broken)
    with contextlib.suppress(SkerryError):
        check_lite(path)


@needs("tflite_micro")
@pytest.mark.slow
@settings(max_examples=25)
@given(place=st.integers(0, 1 << 16), value=st.integers(0, 255), cut=st.booleans())
def test_no_bytes_crash_the_import(tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool) -> None:
    data = bytearray((DATA / "tflite_micro" / "hello_world_int8.tflite").read_bytes())
    place %= len(data)
    broken = data[:place] if cut else data
    if not cut:
        broken[place] = value
    path = tmp_path_factory.getbasetemp() / "broken.tflite"
    path.write_bytes(broken)
    with contextlib.suppress(SkerryError):
        bring(path, Import(seconds=20.0), quiet)
