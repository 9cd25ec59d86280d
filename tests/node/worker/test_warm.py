"""A model that does not run on one value: it is warmed with more, and shown, proved and measured with as many."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from skerry.node.metrics.added import Added
from skerry.node.serve.docs.lines import lines
from skerry.node.worker.order import Hello, Op
from skerry.node.worker.ticket import Answered, Ticket
from tests.node.kit import FakeWorker, place, steady, until


def picks(path, at, shape):
    """Write a model that gives one value of its input's last dimension, so that it must have more than `at`."""
    index = onnx.numpy_helper.from_array(np.array([at]), "at")
    node = onnx.helper.make_node("Gather", ["x", "at"], ["y"], axis=len(shape) - 1)
    values = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [index])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    with place() as found:
        found.put_file(picks(folder / "sound.onnx", 99, ["batch", "n"]), "sound")
        found.put_file(picks(folder / "few.onnx", 9, ["n"]), "few")
        found.put_file(picks(folder / "never.onnx", 999, [1, "n"]), "never")
        yield found


@pytest.mark.parametrize(("name", "free"), [("sound", 512), ("few", 16), ("never", 1)])
def test_the_first_size_that_runs_is_remembered(node, name, free):
    hello = node.models.live(name).hello
    assert (hello.free, hello.run_us > 0) == (free, name != "never")


@pytest.mark.parametrize("name", ["sound", "few"])
def test_it_is_proved_with_that_size(node, name):
    generation, answers = node.models.live(name), []

    def ask():
        ticket = Ticket(Op.GOLDEN, generation.arena, 0, 4096)
        ticket.done = lambda _, answer: answers.append(answer)
        generation.queue.worker.send(ticket, node.clock.nanos())

    node.running.do(ask)
    until("the answer", lambda: answers)
    assert isinstance(answers[0], Answered)


def test_what_serving_adds_is_measured_with_that_size(node):
    node.running.do(Added(node.models, node.clock).look)
    both = [node.models.live(name) for name in ("sound", "few")]
    until("both", lambda: all(one.series.added_ms is not None for one in both))
    assert node.models.live("never").series.added_ms is None
    assert "to the bare runtime" in node.client.get("/docs/sound").text


@pytest.mark.parametrize("name", ["sound", "few"])
def test_the_lines_of_its_page_work(node, name, tmp_path):
    host = f"http://127.0.0.1:{node.address[1]}"
    for line in lines(node.models.live(name), host):
        command = line.command.replace("curl ", "curl -s -o /dev/stdout -w '\\n%{http_code}' ").replace(
            "-o answer.bin", ""
        )
        done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=tmp_path, timeout=30, check=True)
        assert done.stdout.endswith(b"200"), (line.title, done.stdout)
    body = node.get("/openapi/oip.json")[1]["paths"]["/v2/models/{model_name}/infer"]["post"]["requestBody"]
    examples = body["content"]["application/json"]["examples"]
    assert "few" in examples
    assert node.post("/v2/models/few/infer", examples["few"]["value"])[0] == 200


def test_one_that_remembers_says_so_and_shows_a_sequence():
    with place() as found:
        worker = FakeWorker(steady())
        worker.hello = Hello(manifest=worker.hello.manifest, remembers=True)
        found.models.swap(worker)
        text = found.client.get("/docs/m").text
        assert "It remembers" in text
        shown = {line.title: line.command for line in lines(found.models.live("m"), "http://here")}
        for which in ("start", "end"):
            asked = shown[f"Open Inference, the {which} of a sequence"].split("'")[3]
            assert json.loads(asked)["parameters"] == {"sequence_id": 1, f"sequence_{which}": True}
