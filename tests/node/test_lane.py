"""The lane: which models have one, which requests go there, and that everything else goes to the worker."""

from __future__ import annotations

import itertools
import json
import os
import signal
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from skerry.core.names import ModelName
from skerry.core.tensor import DType, Spec
from skerry.engine.runners.onnx_file import arithmetic
from skerry.node.lane import suits
from skerry.node.repository import Found
from skerry.node.worker.order import Beside, Hello, Order
from tests.models import adder_onnx, brightness_onnx
from tests.node.kit import loader, place, until


def graph(path, operator="MatMul", domain="", count=1, kind=TensorProto.FLOAT):
    """Write a chain of one operator."""
    weights = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    names = ["x", *[f"h{i}" for i in range(count - 1)], "y"]
    nodes = [helper.make_node(operator, [a, "w"], [b], domain=domain) for a, b in itertools.pairwise(names)]
    values = [helper.make_tensor_value_info(n, kind, ["n", 4]) for n in ("x", "y")]
    made = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [weights]),
                             opset_imports=[helper.make_opsetid("", 17)], ir_version=8)  # fmt: skip
    path.write_bytes(made.SerializeToString())
    return path


def test_only_small_graphs_of_arithmetic_are_trusted(tmp_path):
    assert arithmetic(graph(tmp_path / "a.onnx"))
    assert arithmetic(adder_onnx(tmp_path / "b.onnx"))
    assert arithmetic(brightness_onnx(tmp_path / "c.onnx"))
    assert not arithmetic(graph(tmp_path / "d.onnx", "Gather"))
    assert not arithmetic(graph(tmp_path / "e.onnx", "MatMul", "com.microsoft"))
    assert not arithmetic(graph(tmp_path / "f.onnx", count=201))
    (tmp_path / "g.onnx").write_bytes(b"not a model")
    assert not arithmetic(tmp_path / "g.onnx")
    (tmp_path / "h.onnx").write_bytes(graph(tmp_path / "a.onnx").read_bytes()[:60])
    assert not arithmetic(tmp_path / "h.onnx")


@pytest.mark.parametrize(
    ("hello", "kind", "good"),
    [
        ({"arithmetic": True, "run_us": 10.0}, DType.FP32, True),
        ({"arithmetic": True, "run_us": 101.0}, DType.FP32, False),
        ({"arithmetic": True, "run_us": 0.0}, DType.FP32, False),  # it does not run on zeros: not proved
        ({"arithmetic": False, "run_us": 10.0}, DType.FP32, False),
        ({"arithmetic": True, "run_us": 10.0, "images": True}, DType.FP32, False),
        ({"arithmetic": True, "run_us": 10.0}, DType.INT64, False),
        ({"arithmetic": True, "run_us": 10.0, "remembers": True}, DType.FP32, False),
    ],
)
def test_who_may_have_a_lane(hello, kind, good):
    specs = (Spec("x", kind, (1,)),)
    worker = SimpleNamespace(hello=Hello(**hello), inputs=specs, outputs=specs, order=Order(path="m"))
    assert suits(worker) is good


def test_a_model_on_an_accelerator_has_no_lane():
    specs = (Spec("x", DType.FP32, (1,)),)
    order = Order(path="m", beside=Beside(options={"providers": ["cuda"]}))
    assert not suits(
        SimpleNamespace(hello=Hello(arithmetic=True, run_us=9.0), inputs=specs, outputs=specs, order=order)
    )


def stop(pid):
    """Let a process stand still, and wait until it does."""
    os.kill(pid, signal.SIGSTOP)
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    until("it stands", lambda: all((one / "stat").read_text().rpartition(")")[2].split()[0] == "T" for one in threads))


def ask(rows):
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(rows), 4],
                        "data": [v for row in rows for v in row]}]}  # fmt: skip


def test_small_requests_are_answered_while_the_worker_stands_still(tmp_path):
    with place() as node:
        arena = node.models.arena("m")
        found = Found(ModelName("m"), 1, graph(tmp_path / "m.onnx"), bare=True)
        node.models.swap(loader().bare(found, arena))
        (generation,) = node.models.generations()
        until("the lane", lambda: generation.lane)
        stop(generation.pid)
        for path in ("/v2/models/m/infer", "/v2/models/m/versions/1/infer"):
            for turn in range(4):
                status, answer = node.post(path, ask([[turn, 1, 2, 3]]), content_type="application/json")
                assert (status, answer["outputs"][0]["data"]) == (200, [turn, 1, 2, 3])
        text = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4],
                                       "parameters": {"binary_data_size": 16}}],
                           "parameters": {"binary_data_output": True}}).encode()  # fmt: skip
        headers = {"Inference-Header-Content-Length": str(len(text))}
        for turn in range(4):
            body = text + struct.pack("<4f", turn, 0, 0, 1)
            reply = node.client.post("/v2/models/m/infer", content=body, headers=headers)
            length = int(reply.headers["inference-header-content-length"])
            assert struct.unpack("<4f", reply.content[length:]) == (turn, 0, 0, 1)
        assert node.post("/v1/models/m:predict", {"instances": [[1, 2, 3, 4]]}) == (
            200,
            {"predictions": [[1, 2, 3, 4]]},
        )
        status, answer = node.post("/v2/models/m/infer", ask([[1, 2, 3]]))
        assert status == 400
        assert generation.series.reading().requests == 13
        os.kill(generation.pid, signal.SIGCONT)


def test_large_requests_and_those_with_wishes_go_to_the_worker(tmp_path):
    with place() as node:
        found = Found(ModelName("m"), 1, graph(tmp_path / "m.onnx"), bare=True)
        node.models.swap(loader().bare(found, node.models.arena("m")))
        (generation,) = node.models.generations()
        until("the lane", lambda: generation.lane)
        assert node.post("/v2/models/m/infer", ask([[1, 2, 3, 4]] * 2000))[0] == 200
        stop(generation.pid)
        began = time.monotonic()
        status, answer = node.post("/v2/models/m/infer", ask([[1, 2, 3, 4]]), request_timeout="0.2")
        assert (status, "deadline" in answer["error"]) == (504, True)
        assert time.monotonic() - began < 5
        os.kill(generation.pid, signal.SIGCONT)


def test_a_swap_closes_the_lane_and_opens_the_next(tmp_path):
    with place() as node:
        lanes = []
        for version in (1, 2, 3):
            found = Found(ModelName("m"), version, graph(tmp_path / f"{version}.onnx"), bare=True)
            node.models.swap(loader().bare(found, node.models.arena("m")))
            (generation,) = node.models.generations()
            lanes.append(until("the lane", lambda one=generation: one.lane))
            status, answer = node.post("/v2/models/m/infer", ask([[1, 2, 3, 4]]))
            assert (status, answer["model_version"]) == (200, str(version))
        assert all(lane.session._runner._session is None for lane in lanes[:-1])
