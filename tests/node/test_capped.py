"""Workers that may take so much of the machine and no more: real processes, held by limits of their own."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from skerry.core.errors import LoadFailed, RunFailed
from skerry.core.names import ModelName
from skerry.host.caps import ALL, Cages, Cap, Caps, Ways
from skerry.node.load import Loader
from skerry.node.repository import Found
from skerry.node.worker.work import told
from tests.engine.kit import HERE
from tests.models import adder_onnx
from tests.node.kit import ONE_JSON, SECONDS, living, nursery

MIB = 1 << 20


def heavy(path, mib):
    """Write a model that makes `mib` MiB of floats at every run."""
    count = mib * MIB // 4
    node = [
        helper.make_node("ConstantOfShape", ["shape"], ["many"]),
        helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    shape = numpy_helper.from_array(np.array([count], np.int64), "shape")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(node, "heavy", value[:1], value[1:], [shape])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def load(live, path, cap):
    cages = Cages(Caps({ALL: cap}), Ways())
    loader = Loader(nursery(), None, HERE, 1, False, cages)
    return loader.bare(Found(ModelName("m"), 1, path, True), live.models.arena("m"))


def test_a_worker_is_held_from_its_birth(tmp_path):
    with living() as live:
        worker = load(live, adder_onnx(tmp_path / "adder.onnx"), Cap(512 * MIB, 1.0))
        live.models.swap(worker)
        assert worker.order.cap == "512 MiB of memory and 1 processors"
        assert worker.order.runs == 1
        assert resource.prlimit(worker.pid, resource.RLIMIT_DATA) == (512 * MIB, 512 * MIB)
        for thread in Path(f"/proc/{worker.pid}/task").iterdir():
            assert len(os.sched_getaffinity(int(thread.name))) == 1
        assert live.models.live("m").lane is None  # a second session in the node's own process would have no cap
        (reading,) = live.running.do(live.metrics.readings)
        assert reading.memory > 5 * MIB  # what the page says of the worker's memory


def test_a_run_over_its_cap_is_told_so_and_the_worker_lives(tmp_path):
    """Two gigabytes where one half may be taken: ONNX Runtime cannot have them, and says so."""
    asked = json.dumps({"inputs": [ONE_JSON]}).encode()
    with living() as live:
        worker = load(live, heavy(tmp_path / "heavy.onnx", 2000), Cap(512 * MIB))
        live.models.swap(worker)
        for _ in range(2):
            with pytest.raises(RunFailed, match="this worker may take 512 MiB of memory"):
                live.submit(body=asked).result(SECONDS)
        assert live.models.live("m").pid == worker.pid


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), "MemoryError; this worker may take 64 MiB"),
        (RunFailed("Failed to allocate memory"), "Failed to allocate memory; this worker may take 64 MiB"),
        (LoadFailed("std::bad_alloc"), "std::bad_alloc; this worker may take 64 MiB"),
        (RunFailed("shapes do not fit"), "shapes do not fit"),
    ],
)
def test_what_an_error_of_memory_says(error, expected):
    found = told(error, "64 MiB")
    assert isinstance(found, type(error) if not isinstance(error, MemoryError) else RunFailed)
    with pytest.raises(type(found), match=f"^{expected}$"):
        raise found
    assert "may take" not in str(told(error, ""))
