"""Multiplications counted by what ran."""

from __future__ import annotations

import pytest

from skerry.core.errors import LoadFailed
from skerry.forge.optimise.coverage import cover, macs
from tests.forge.optimise.kit import Draft, mobile, samples


def test_multiplications_are_counted_by_hand_too() -> None:
    draft = Draft()
    now = draft.conv("x", 3, 8)  # 8 * 3 * 9 a pixel
    now = draft.conv(now, 8, 8, groups=8)  # 8 * 9 a pixel
    flat = draft.node("Flatten", now)
    draft.node("Gemm", flat, draft.normal(128, 5), draft.normal(5), out="y")
    model = draft.model({"x": [2, 3, 4, 4]}, {"y": [2, 5]})
    covered = cover(model, samples(model, 1)[0])
    assert covered.macs == 2 * (16 * (8 * 27 + 8 * 9) + 128 * 5)
    assert covered.share == 0.0
    assert covered.conversions == 0
    assert covered.micros > 0
    assert set(covered.kinds()) >= {"Flatten", "Gemm"}


@pytest.mark.parametrize(
    ("kind", "inputs", "weights", "outputs", "count"),
    [
        ("ConvTranspose", [(1, 4, 3, 3)], [(4, 2, 2, 2)], [(1, 2, 6, 6)], 36 * 8),
        ("MatMul", [(2, 3, 8), (8, 5)], [], [(2, 3, 5)], 30 * 8),
        ("LSTM", [(7, 2, 6)], [(1, 16, 6), (1, 16, 4)], [(7, 1, 2, 4)], 14 * 160),
        ("Relu", [(4, 4)], [], [(4, 4)], 0),
        ("Conv", [], [], [], 0),
    ],
)
def test_each_kind(kind: str, inputs: list, weights: list, outputs: list, count: int) -> None:
    assert macs(kind, inputs, weights, outputs) == count


def test_a_model_that_does_not_run_is_an_error() -> None:
    with pytest.raises(LoadFailed, match="ONNX Runtime cannot run the model"):
        cover(mobile(), {})
