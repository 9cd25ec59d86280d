"""Traces wired: from a traceparent at the real site to the bytes that a real collector of ours gets."""

from __future__ import annotations

import json
import math
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import httpx2
import pytest

from skerry.core.errors import RunFailed
from skerry.node.metrics import PHASES
from skerry.node.serve.admin import Admin
from skerry.node.serve.rest import rest
from skerry.node.serve.rpc.server import GrpcServer
from skerry.node.trace import Traces
from skerry.node.tracing.teller import MAX_BATCHES, NEVER, REST_SECONDS, Teller
from skerry.node.tracing.traced import Tracing
from skerry.wire.protos.pool import message
from tests.models import adder_onnx
from tests.node.kit import ONE_JSON, SECONDS, Place, listen, session, steady, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
INFER = "/v2/models/m/infer"
ASKED = {"inputs": [ONE_JSON]}


class Collector:
    """A server that takes OTLP as JSON, and reads it."""

    def __init__(self, status=200):
        self.spans, self.status, self.posts, self.gate = [], status, 0, threading.Event()
        self.gate.set()
        outer = self

        class Inside(BaseHTTPRequestHandler):
            def do_POST(self):
                data = self.rfile.read(int(self.headers["content-length"]))
                assert outer.gate.wait(SECONDS)
                outer.posts += 1
                if outer.status == 200:
                    assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/json")
                    outer.take(json.loads(data))
                self.send_response(outer.status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_): ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Inside)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, value):
        for resource in value["resourceSpans"]:
            names = {one["key"]: one["value"]["stringValue"] for one in resource["resource"]["attributes"]}
            assert (names["service.name"], names["host.name"]) == ("skerry", "boat")
            for scope in resource["scopeSpans"]:
                self.spans += scope["spans"]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector():
    found = Collector()
    yield found
    found.close()


class Stage(Place):
    """A site whose requests are told."""

    every = 0

    def serve(self, recorded=None):
        listener = listen("127.0.0.1", 0)
        self.address = listener.getsockname()[:2]
        admin = Admin(self.models, self.metrics, None)
        self.numbers = 0
        self.traces = Traces(self.random, self.every)
        self.tracing = Tracing(self.traces, self.models, self.clock)
        self.site = rest(self.models, self.metrics, self.clock, "here", admin, recorded, self.tracing)
        self.running.wait(self.site.start(listener))
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.address[1]}", timeout=SECONDS)

    def random(self, size):
        self.numbers += 1
        return self.numbers.to_bytes(size, "big")

    def taken(self):
        return self.running.do(self.traces.take)


@contextmanager
def staging(every=0):
    found = Stage()
    found.every = every
    try:
        found.serve()
        yield found
    finally:
        found.close()


def test_a_request_is_told_with_its_phases():
    with staging() as stage:
        stage.put(steady(version=3))
        for _ in range(2):  # the second has a head that is known by its bytes
            assert stage.post(INFER, ASKED, traceparent=PARENT)[0] == 200
        assert stage.post(INFER, ASKED)[0] == 200  # nobody traces this one
        assert stage.post(INFER, ASKED, traceparent=PARENT[:-1] + "0")[0] == 200
        (place, one), _ = stage.taken()
        assert (place.trace, place.span) == (TRACE, SPAN)
        assert (one.model, one.version, one.api, one.error) == ("m", 3, "oip-http", "")
        assert set(one.phases) == set(PHASES)
        assert 0 < sum(one.phases.values()) <= one.nanos


def test_every_so_many_are_told():
    with staging(every=3) as stage:
        stage.put(steady())
        for _ in range(7):
            stage.post(INFER, ASKED)
        assert len(stage.taken()) == 2


def test_a_model_in_the_lane_is_told_too(tmp_path):
    with staging() as stage:
        stage.put_file(adder_onnx(tmp_path / "adder.onnx"), "m", 7)
        until("the lane", lambda: stage.models.live("m").lane)
        inputs = []
        for spec in stage.models.live("m").inputs:
            shape = [abs(size) for size in spec.shape]
            inputs.append({"name": spec.name, "datatype": "FP32", "shape": shape, "data": [1] * math.prod(shape)})
        assert stage.post(INFER, {"inputs": inputs}, traceparent=PARENT)[0] == 200
        ((_, one),) = stage.taken()
        assert (one.version, one.phases["queue"]) == (7, 0)
        assert one.phases["infer"] > 0


def test_errors_are_told_by_their_class():
    def run(_):
        raise RunFailed("no")

    with staging() as stage:
        stage.put(session("m", 1, run))
        assert stage.post(INFER, ASKED, traceparent=PARENT)[0] == 400
        stage.models.live("m").queue.refusal = RunFailed("away")
        assert stage.post(INFER, ASKED, traceparent=PARENT)[0] == 500
        assert [one.error for _, one in stage.taken()] == ["Invalid", "RunFailed"]


def test_grpc_is_told():
    with staging() as stage:
        stage.put(steady(version=3))
        server = GrpcServer(stage.models, Admin(stage.models, stage.metrics, None), stage.clock, stage.tracing)
        port = stage.running.wait(server.start("127.0.0.1:0"))
        try:
            request = message("inference.ModelInferRequest")(model_name="m")
            entry = request.inputs.add(name="x", datatype="FP32", shape=[1])
            entry.contents.fp32_contents.append(1.0)
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
                call(request.SerializeToString(), metadata=[("traceparent", PARENT)], timeout=SECONDS)
                call(request.SerializeToString(), timeout=SECONDS)
            ((place, one),) = stage.taken()
        finally:
            stage.running.wait(server.stop())
        assert (place.span, one.api, one.version) == (SPAN, "oip-grpc", 3)
        assert one.phases["infer"] > 0


def test_what_a_collector_gets(collector):
    with staging() as stage:
        stage.put(steady(version=3))
        teller = stage.running.do(lambda: begun(Teller(stage.traces, collector.url, "boat")))
        try:
            stage.post(INFER, ASKED, traceparent=PARENT)
            until("the spans", lambda: collector.spans)
        finally:
            end(stage, teller)
        root = collector.spans[0]
        assert (root["traceId"], root["parentSpanId"], root["name"]) == (TRACE, SPAN, "infer m")
        assert {"key": "skerry.version", "value": {"intValue": "3"}} in root["attributes"]
        inner = collector.spans[1:]
        assert inner
        assert all(one["parentSpanId"] == root["spanId"] for one in inner)
        assert int(root["startTimeUnixNano"]) < int(root["endTimeUnixNano"])


def begun(teller):
    teller.start()
    return teller


def end(stage, teller):
    stage.running.do(teller.finish)
    teller.stop()


def gathered(stage, count=1):
    for _ in range(count):
        assert stage.post(INFER, ASKED, traceparent=PARENT)[0] == 200


def test_what_is_left_is_sent_at_the_end(collector):
    with staging() as stage:
        stage.put(steady())
        teller = stage.running.do(lambda: begun(Teller(stage.traces, f"{collector.url}/v1/traces", "boat")))
        gathered(stage)
        end(stage, teller)
        assert len({one["traceId"] for one in collector.spans}) == 1


def test_a_collector_that_is_away_stops_nothing(caplog):
    with staging() as stage:
        stage.put(steady())
        teller = Teller(stage.traces, "http://127.0.0.1:9", "boat")
        assert teller.tick() == NEVER
        for _ in range(MAX_BATCHES + 3):  # more than may wait
            gathered(stage)
            stage.running.do(teller._take)
        for left in range(MAX_BATCHES - 1, -1, -1):
            assert teller.tick() == REST_SECONDS
            assert len(teller._batches) == left
        assert caplog.text.count("traces: 1 not sent") == 1  # said once, not each time


def test_a_collector_that_refuses_and_comes_back():
    found = Collector(503)
    try:
        with staging() as stage:
            stage.put(steady())
            teller = Teller(stage.traces, found.url, "boat")
            gathered(stage)
            stage.running.do(teller._take)
            assert teller.tick() == REST_SECONDS
            found.status = 200
            gathered(stage)
            stage.running.do(teller._take)
            assert teller.tick() == NEVER
            assert (found.posts, len(found.spans) > 0) == (2, True)
    finally:
        found.close()


def test_a_slow_collector_holds_up_no_request(collector):
    with staging() as stage:
        stage.put(steady())
        collector.gate.clear()
        teller = stage.running.do(lambda: begun(Teller(stage.traces, collector.url, "boat")))
        gathered(stage)
        stage.running.do(teller._take)
        gathered(stage, 5)  # answered while it is being sent
        assert collector.posts == 0
        collector.gate.set()
        end(stage, teller)
        until("the spans", lambda: collector.spans)
