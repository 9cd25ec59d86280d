"""What a settings file may ask: trials, labels, caps and traces."""

from __future__ import annotations

import pytest

from skerry.core.agreement import Terms
from skerry.core.errors import Invalid
from skerry.host.caps import Cap
from skerry.host.settings import load
from skerry.node.settings import NodeSettings

FILE = """
[node]
traces = "http://collector:4318"
trace_every = 100
[node.trials]
boards = {version = 4, mode = "canary", share = 0.1, errors = 0.02}
[node.labels.boards]
stable = 3
[node.caps]
"*" = {memory = "512MiB"}
boards = {cpus = 1.5}
"""


def read(tmp_path, text):
    path = tmp_path / "node.toml"
    path.write_text(text)
    return load(NodeSettings, "node", path, {}, {})


def test_a_file_that_asks_for_all(tmp_path):
    found = read(tmp_path, FILE)
    terms = Terms.read({"version": 4, "mode": "canary", "share": 0.1, "errors": 0.02})
    assert found.trials.by_model == {"boards": terms}
    assert found.labels.by_model == {"boards": {"stable": 3}}
    assert found.caps.of("boards") == Cap(512 << 20, 1.5)
    assert (found.traces, found.trace_every) == ("http://collector:4318", 100)


def test_nothing_is_asked_by_default():
    found = NodeSettings()
    assert (found.trials.by_model, found.labels.by_model, found.caps.by_model, found.traces) == ({}, {}, {}, "")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[node.trials]\nboards = {mode = 'canary'}", r"\[node\] trials: trials.boards: version: expected this field"),
        ("[node.trials]\n'a b' = {version = 1}", "expected"),
        ("[node.caps]\nboards = {memory = '1'}", r"\[node\] caps: caps.boards: memory: expected at least 64 MiB"),
        ("[node.labels.boards]\nstable = 'x'", "labels"),
        ("[node]\ntraces = 'collector:4318'", "node.traces: expected http://HOST:PORT"),
        ("[node]\nhub = 'http://hub'\n[node.trials]\nm = {version = 1}", "expected none on a node with a hub"),
        ("[node]\ntrace_every = -1", "node.trace_every: expected 0 or more"),
    ],
)
def test_a_file_that_asks_for_nonsense(tmp_path, text, match):
    with pytest.raises(Invalid, match=match):
        read(tmp_path, text)
