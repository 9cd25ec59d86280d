"""Trace and log settings over HTTP and gRPC, with Triton's own clients: they say what is, and what they set is done."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import pytest
import tritonclient.grpc
import tritonclient.http
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from skerry.node.repository import Listing
from skerry.node.serve.admin import Admin
from skerry.node.serve.logs import Logs
from skerry.node.serve.rest import rest
from skerry.node.serve.rpc.server import GrpcServer
from skerry.node.trace import Traces
from skerry.node.tracing.traced import Tracing
from tests.node.kit import ONE_JSON, Place, listen, steady

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FIRST = {"trace_level": ["TIMESTAMPS"], "trace_rate": "0", "trace_count": "-1", "trace_mode": "opentelemetry"}


class Shelf:
    """A repository: with one, who asks may change the node."""

    def load(self, name): ...

    def unload(self, name): ...

    def reload(self, sources): ...

    def index(self):
        return Listing()


class Stage(Place):
    """A node with both protocols, and its own log."""

    def begin(self, collector=True, controlled=True):
        self.own = logging.Logger("own", logging.WARNING)
        self.admin = Admin(self.models, self.metrics, Shelf() if controlled else None)
        self.admin.logs = Logs(self.own)
        self.traces = Traces(lambda size: b"\1" * size, 0)
        tracing = Tracing(self.traces, self.models, self.clock) if collector else None
        self.admin.traces = self.traces if collector else None
        listener = listen("127.0.0.1", 0)
        self.address = listener.getsockname()[:2]
        self.site = rest(self.models, self.metrics, self.clock, "here", self.admin, None, tracing)
        self.running.wait(self.site.start(listener))
        self.rpc = GrpcServer(self.models, self.admin, self.clock, tracing)
        port = self.running.wait(self.rpc.start("127.0.0.1:0"))
        self.client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{self.address[1]}")
        self.grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}")

    def told(self, name="m", count=1, traced=True):
        """Return how many of so many requests are told."""
        headers = {"traceparent": PARENT} if traced else {}
        for _ in range(count):
            reply = self.client._post(
                f"v2/models/{name}/infer", b'{"inputs": [%s]}' % str(ONE_JSON).replace("'", '"').encode(), headers, None
            )
            assert reply.status_code == 200
        return len(self.running.do(self.traces.take))

    def close(self):
        self.grpc.close()
        self.running.wait(self.rpc.stop())
        super().close()


@contextmanager
def staging(**how):
    found = Stage()
    try:
        found.begin(**how)
        yield found
    finally:
        found.close()


@pytest.fixture
def stage():
    with staging() as found:
        found.put(steady())
        found.put(steady("other"))
        yield found


def test_what_they_begin_with(stage):
    assert stage.client.get_trace_settings() == stage.client.get_trace_settings("m") == FIRST
    both = stage.grpc.get_trace_settings(as_json=True)["settings"]
    assert {name: one["value"] for name, one in both.items()} == {
        name: value if isinstance(value, list) else [value] for name, value in FIRST.items()
    }
    log = {"log_file": "", "log_info": False, "log_warning": True, "log_error": True, "log_verbose_level": 0}
    assert stage.client.get_log_settings() == {**log, "log_format": "default"}
    told = stage.grpc.get_log_settings().settings
    assert (told["log_warning"].bool_param, told["log_format"].string_param) == (True, "default")
    for client in (stage.client.get_server_metadata(), stage.grpc.get_server_metadata(as_json=True)):
        assert {"trace", "logging"} <= set(client["extensions"])


def test_the_rate_the_level_and_the_count_are_obeyed(stage):
    assert (stage.told(count=3, traced=False), stage.told(count=3)) == (0, 3)
    assert stage.client.update_trace_settings(settings={"trace_rate": "2"})["trace_rate"] == "2"
    assert stage.told(count=4, traced=False) == 2
    stage.grpc.update_trace_settings(settings={"trace_level": ["OFF"]})
    assert stage.told(count=2) == stage.told(count=4, traced=False) == 0
    stage.client.update_trace_settings(settings={"trace_level": "TIMESTAMPS", "trace_count": "3"})
    assert stage.told(count=2) == 2
    assert stage.client.get_trace_settings()["trace_count"] == "1"
    assert stage.told(count=3) == 1
    assert stage.client.update_trace_settings(settings=dict.fromkeys(FIRST)) == FIRST
    assert stage.told(count=3) == 3


def test_a_model_has_its_own(stage):
    found = stage.grpc.update_trace_settings("m", {"trace_rate": "1"}, as_json=True)
    assert found["settings"]["trace_rate"]["value"] == ["1"]
    assert (stage.told("m", 2, traced=False), stage.told("other", 2, traced=False)) == (2, 0)
    stage.client.update_trace_settings(settings={"trace_level": ["OFF"], "trace_rate": "2"})
    assert stage.client.get_trace_settings("m") == {**FIRST, "trace_level": ["OFF"], "trace_rate": "1"}
    stage.client.update_trace_settings("m", {"trace_level": ["TIMESTAMPS"]})
    assert (stage.told("m", 2), stage.told("other", 2)) == (2, 0)
    stage.client.update_trace_settings("m", {"trace_level": None, "trace_rate": None})
    assert stage.client.get_trace_settings("m") == stage.client.get_trace_settings()
    assert stage.told("m", 2) == 0


def test_log_lines_come_and_go(stage):
    assert stage.own.level == logging.WARNING
    assert stage.client.update_log_settings({"log_info": True, "log_format": "ISO8601"})["log_info"] is True
    assert stage.own.level == logging.INFO
    told = stage.grpc.update_log_settings({"log_verbose_level": 1}).settings
    assert (told["log_verbose_level"].uint32_param, told["log_format"].string_param) == (1, "ISO8601")
    assert stage.own.level == logging.DEBUG


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"trace_file": "x"}, "trace_file: traces go to the collector that the setting 'traces' names"),
        ({"log_frequency": "5"}, "log_frequency: traces go to a collector"),
        ({"trace_mode": "triton"}, "trace_mode: this node tells in opentelemetry alone; got ['triton']"),
        ({"trace_level": ["TIMESTAMPS", "TENSORS"]}, "trace_level: TENSORS: the values of tensors are not told"),
        ({"trace_level": ["MAX"]}, "trace_level: expected TIMESTAMPS or OFF; got ['MAX']"),
        ({"trace_rate": "-1"}, "trace_rate: expected a whole number from 0 to 2147483647; got ['-1']"),
        ({"trace_count": "-2"}, "trace_count: expected a whole number from -1"),
        ({"trace_rate": "²"}, "trace_rate: expected a whole number"),
        ({"trace_depth": "1"}, "trace_depth: unknown setting; expected one of trace_level, trace_rate, trace_count"),
    ],
)
def test_what_cannot_be_is_named_and_nothing_changes(stage, changes, text):
    for client in (stage.client, stage.grpc):
        with pytest.raises(InferenceServerException) as found:
            client.update_trace_settings(settings={"trace_rate": "7", **changes})
        assert text in str(found.value)
    assert stage.client.get_trace_settings() == FIRST


def test_unknown_models_and_settings_of_no_text(stage):
    for client in (stage.client, stage.grpc):
        with pytest.raises(InferenceServerException, match="unknown model: none"):
            client.get_trace_settings("none")
    for value in (1, [1], {"a": "b"}, True):
        with pytest.raises(InferenceServerException, match="trace_rate: expected a text, or a list of them"):
            stage.client.update_trace_settings(settings={"trace_rate": value})
    with pytest.raises(InferenceServerException, match="expected an object"):
        stage.client.update_log_settings([])


def test_without_a_collector_nothing_can_be_traced():
    with staging(collector=False) as stage:
        stage.put(steady())
        assert stage.client.get_trace_settings() == {**FIRST, "trace_level": ["OFF"]}
        with pytest.raises(InferenceServerException, match="trace_rate: this node has no collector to tell"):
            stage.client.update_trace_settings(settings={"trace_rate": "1"})
        extensions = stage.client.get_server_metadata()["extensions"]
        assert ("trace" in extensions, "logging" in extensions) == (False, True)


def test_who_may_not_load_may_not_set():
    with staging(controlled=False) as stage:
        for client in (stage.client, stage.grpc):
            for call in (
                lambda c: c.update_log_settings({"log_info": True}),
                lambda c: c.update_trace_settings(settings={"trace_rate": "1"}),
            ):
                with pytest.raises(InferenceServerException, match="this node is not changed by requests"):
                    call(client)
            client.get_log_settings()
            client.get_trace_settings()


CHANGES = st.dictionaries(
    st.sampled_from(["on", "every", "left"]), st.one_of(st.none(), st.integers(0, 3), st.booleans()), max_size=3
)


@settings(suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(["", "a", "b"]), CHANGES), max_size=12))
def test_any_order_of_changes_leaves_what_was_said_last(steps):
    """A model's own value counts, else the node's, else the first."""
    traces, said = Traces(lambda size: b"\1" * size, 5), {"": {}, "a": {}, "b": {}}
    first = {"on": True, "every": 5, "left": -1}
    for model, changes in steps:
        traces.change(model, changes)
        said[model] = {name: value for name, value in {**said[model], **changes}.items() if value is not None}
    for model, own in said.items():
        want = {**first, **said[""], **own}
        found = traces.sampling(model)
        assert {name: getattr(found, name) for name in want} == want
