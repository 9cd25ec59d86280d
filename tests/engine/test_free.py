"""What becomes of free dimensions in made-up requests."""

from __future__ import annotations

import pytest

from skerry.core.tensor import DType, Spec
from skerry.engine.free import filled


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ([(2, 3)], [(2, 3)]),
        ([()], [()]),
        ([(-1,)], [(16,)]),
        ([(-1, 4)], [(16, 4)]),
        ([(1, -1)], [(1, 16)]),
        ([(-1, -1)], [(1, 16)]),
        ([(-1, 3, -1, -1)], [(1, 3, 16, 16)]),
        ([(-1, -1), (-1,), ()], [(1, 16), (1,), ()]),
    ],
)
def test_the_first_free_dimension_is_the_batch_where_there_are_others(shapes, found):
    specs = [Spec(f"x{place}", DType.FP32, shape) for place, shape in enumerate(shapes)]
    assert [spec.shape for spec in filled(specs, 16)] == found
    assert all(1 in spec.shape or -1 not in old.shape for spec, old in zip(filled(specs, 1), specs, strict=True))
    assert [spec.name for spec in filled(specs, 16)] == [spec.name for spec in specs]
