"""Warm-up requests of a config.pbtxt: made to the letter, and a bad one is named."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skerry.core.errors import LoadFailed
from skerry.core.tensor import DType, Spec
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.session import Session
from skerry.engine.warmup import run_warmups
from skerry.host.clock import Clock
from skerry.wire.config import read_config
from tests.engine.kit import manifest

NUMBERS = [kind for kind in DType if kind is not DType.BYTES]


class Seen:
    """A session that remembers what it was asked."""

    def __init__(self, kind: DType, shape: tuple[int, ...]) -> None:
        self.feeds: list[Any] = []
        inputs, outputs = (Spec("x", kind, shape),), (Spec("y", DType.FP32, (1,)),)
        self.session = Session(manifest(inputs, outputs), FakeRunner(inputs, outputs, self._run), Clock())

    def _run(self, feeds: Any) -> dict[str, Any]:
        self.feeds.append(np.array(feeds["x"]))
        return {"y": np.zeros(1, np.float32)}


def run(seen: Seen, folder: Path, value: str, top: str = "", head: str = "") -> None:
    options = read_config(
        f"{head} model_warmup {{ name: 'w' {top} inputs {{ key: 'x' value {{ {value} }} }} }}".encode()
    )
    run_warmups(seen.session, options.warmup, bool(options.max_batch_size), folder)


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("source", ["zero_data", "random_data"])
def test_zeros_and_random_numbers(tmp_path: Path, kind: DType, source: str) -> None:
    seen = Seen(kind, (2, 3))
    run(seen, tmp_path, f"data_type: TYPE_{kind.value} dims: [ 2, 3 ] {source}: true", "count: 2")
    assert len(seen.feeds) == 2
    assert np.array_equal(seen.feeds[0], seen.feeds[1])
    assert seen.feeds[0].any() == (source == "random_data")


def test_every_example_of_a_batch_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "f").write_bytes(np.float32([1, 2]).tobytes())
    seen = Seen(DType.FP32, (-1, 2))
    value = "data_type: TYPE_FP32 dims: 2 input_data_file: 'f'"
    run(seen, tmp_path, value, "batch_size: 3", "max_batch_size: 4")
    assert seen.feeds[0].tolist() == [[1, 2]] * 3
    with pytest.raises(
        LoadFailed, match=r"^config\.pbtxt: model_warmup 'w': batch_size: expected 1 for a model without"
    ):
        run(seen, tmp_path, value, "batch_size: 3")


def test_texts(tmp_path: Path) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "f").write_bytes(b"".join(struct.pack("<I", len(t)) + t for t in (b"one", b"")))
    seen = Seen(DType.BYTES, (2,))
    run(seen, tmp_path, "data_type: TYPE_STRING dims: 2 input_data_file: 'f'")
    run(seen, tmp_path, "data_type: TYPE_STRING dims: 2 zero_data: true")
    run(seen, tmp_path, "data_type: TYPE_STRING dims: 2 random_data: true")
    assert [one.tolist() for one in seen.feeds[:2]] == [[b"one", b""], [b"", b""]]
    assert all(text.isdigit() for text in seen.feeds[2].tolist())


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("data_type: TYPE_FP32 dims: 2 input_data_file: 'none'", "expected warmup/none; it is not there"),
        ("data_type: TYPE_FP32 dims: 3 input_data_file: 'f'", "input 'x': expected 12 bytes in warmup/f for"),
        ("data_type: TYPE_STRING dims: 3 input_data_file: 'f'", "input 'x': warmup/f: element 0: expected 1065353216"),
        ("data_type: TYPE_FP32 dims: 3 zero_data: true", "input 'x': expected shape"),
        ("data_type: TYPE_FP64 dims: 2 zero_data: true", "input 'x': expected datatype FP32"),
        ("data_type: TYPE_FP32 dims: [ 100000, 1000 ] zero_data: true", "input 'x': expected at most 67108864 bytes"),
    ],
)
def test_a_bad_one_is_named(tmp_path: Path, value: str, error: str) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "f").write_bytes(np.float32([1, 2]).tobytes())
    with pytest.raises(LoadFailed, match=r"^config\.pbtxt: model_warmup 'w': " + error):
        run(Seen(DType.FP32, (2,)), tmp_path, value)


def test_an_unknown_input_is_named(tmp_path: Path) -> None:
    seen = Seen(DType.FP32, (2,))
    options = read_config(
        b"model_warmup { name: 'w' inputs { key: 'z' value { data_type: TYPE_FP32 dims: 2 zero_data: true } } }"
    )
    with pytest.raises(LoadFailed, match="model_warmup 'w': inputs: expected x; got z"):
        run_warmups(seen.session, options.warmup, False, tmp_path)
