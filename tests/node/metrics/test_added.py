"""What serving adds: real requests of zeros that no metric counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from skerry.core.tensor import DType, Spec
from skerry.engine.free import filled
from skerry.node.metrics.added import Added, zeros_request
from skerry.node.worker.order import MAX_BODY
from skerry.wire import oip
from tests.engine.kit import identity
from tests.models import brightness_bundle
from tests.node.kit import Live, living, steady, until

SPECS = st.lists(
    st.tuples(st.sampled_from(list(DType)), st.lists(st.sampled_from([-1, 0, 1, 3]), max_size=4)),
    min_size=1,
    max_size=4,
)


@pytest.fixture
def live() -> Iterator[Live]:
    with living() as found:
        yield found


@given(SPECS)
def test_the_request_is_one_that_the_protocol_takes(specs: list[tuple[DType, list[int]]]) -> None:
    inputs = tuple(Spec(f"x{number}", kind, tuple(shape)) for number, (kind, shape) in enumerate(specs))
    request = zeros_request(filled(inputs, 1))
    assert request is not None
    found = oip.decode_request(request[0], MAX_BODY, request[1])
    assert [(one.name, one.dtype) for one in found.inputs] == [(one.name, one.dtype) for one in inputs]
    assert [one.shape for one in found.inputs] == [tuple(abs(size) for size in one.shape) for one in inputs]
    assert found.binary


def test_what_is_too_large_is_not_asked() -> None:
    assert zeros_request((Spec("x", DType.FP32, (MAX_BODY,)),)) is None


def test_a_generation_is_measured_and_nothing_is_counted(live: Live, tmp_path: Path) -> None:
    live.put_bundle(brightness_bundle(tmp_path / "b", 3).path)
    live.put_file(identity(tmp_path / "text.onnx", TensorProto.STRING, (-1,)), "text")
    added = Added(live.models, live.clock)
    live.running.do(added.look)
    live.running.do(added.look)
    both = live.models.generations()
    until("both", lambda: all(one.series.added_ms is not None for one in both))
    for one in both:
        assert 0 < one.series.added_ms < 100  # type: ignore[operator]
        reading = live.running.do(one.series.reading)
        assert (reading.requests, reading.failed, reading.inflight, reading.pending) == (0, 0, 0, 0)
    live.quiet()


def test_one_that_was_never_run_on_zeros_is_not_measured(live: Live) -> None:
    live.put(steady())
    added = Added(live.models, live.clock)
    live.running.do(added.look)
    assert live.models.generations()[0].series.added_ms is None


def test_a_generation_that_leaves_is_left_alone(live: Live, tmp_path: Path) -> None:
    live.put_bundle(brightness_bundle(tmp_path / "b", 3).path)
    generation = live.models.generations()[0]
    live.running.do(Added(live.models, live.clock).look)
    live.models.drop("brightness")
    live.running.do(lambda: None)
    assert generation.series.added_ms is None
