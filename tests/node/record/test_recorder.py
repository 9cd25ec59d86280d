from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import QueueFull
from skerry.core.finding import Finding
from skerry.core.names import ModelName
from skerry.core.rules import Memory, Rule, feed
from skerry.host.clock import FakeClock
from skerry.host.shared import Arena
from skerry.node.layers import Recorded
from skerry.node.metrics import Metrics
from skerry.node.record.journal import Journal
from skerry.node.record.recorder import Recorder
from skerry.node.worker.order import ENCODER, Note, Op
from skerry.node.worker.ticket import Answered, Ticket
from skerry.wire.results import MAX_PICTURE, Alarm, Result
from tests.node.kit import looping, until
from tests.wire.messages import RESULT

GOOD = replace(Result.read(RESULT), findings=())
RULE = Rule(
    "two of three", ModelName("boards"), count=2, window=3, labels=("crack",), min_score=0.5, webhook="http://w"
)


def result(*labels, model="boards"):
    return replace(GOOD, model=ModelName(model), findings=tuple(Finding(label, 0.9) for label in labels))


class Kept:
    """A journal with a recorder on it."""

    def __init__(self, path, rules=(RULE,), limit=1 << 24):
        self.path, self.rules = path, rules
        self.clock, self.metrics = FakeClock(), Metrics()
        self.journal = Journal(path, limit)
        self.recorder = Recorder(self.journal, rules, self.clock, self.metrics, "here")
        self.recorder.start()

    def put(self, *results, picture=b""):
        return [f.result(10) for f in [self.recorder.record(r, picture) for r in results]]

    def entries(self):
        return list(self.journal.read(10_000).entries)

    def close(self):
        self.recorder.stop()
        self.journal.close()

    def again(self):
        self.close()
        return Kept(self.path, self.rules)


@pytest.fixture
def kept(tmp_path):
    found = Kept(tmp_path / "j.db")
    yield found
    found.close()


def test_a_result_is_on_disk_when_its_place_is_known(kept):
    (place,) = kept.put(result("x"), picture=b"p")
    assert place == f"{kept.journal.epoch}/1"
    (entry,) = kept.entries()
    assert (entry.seq, entry.at, entry.picture, entry.body) == (1, kept.clock.now(), b"p", result("x"))
    assert b"skerry_journal_backlog 1.0" in kept.metrics.page()


def test_an_alarm_follows_its_result_and_has_its_call(kept):
    places = kept.put(result("crack"), result(), result("crack"), result("crack"))
    kinds = [(e.seq, e.kind) for e in kept.entries()]
    assert kinds == [(1, "result"), (2, "result"), (3, "result"), (4, "alarm"), (5, "result")]
    assert [p.split("/")[1] for p in places] == ["1", "2", "3", "5"]
    alarm = kept.entries()[3].body
    assert alarm == Alarm("two of three", ModelName("boards"), 3, "2 of the last 3 results of boards with crack")
    (call,) = kept.journal.calls()
    assert (call.seq, call.url) == (4, "http://w")
    body = json.loads(call.body)
    assert (body["id"], body["node"], body["rule"]) == (
        f"here/{kept.journal.epoch}/4/{round(kept.clock.now() * 1000)}",
        "here",
        "two of three",
    )
    assert (body["source"], body["findings"][0]["label"]) == ("a.png", "crack")
    assert b'skerry_alarms_total{rule="two of three"} 1.0' in kept.metrics.page()


def test_rules_remember_over_a_restart(tmp_path):
    kept = Kept(tmp_path / "j.db")
    kept.put(result("crack"))
    kept = kept.again()
    kept.journal.acknowledge(1)
    kept.put(result("crack"))
    assert [e.kind for e in kept.entries()] == ["result", "alarm"]
    kept = kept.again()
    kept.journal.acknowledge(3)
    kept.put(result("crack"))  # the alarm stands, so it is not raised again
    assert [e.kind for e in kept.entries()] == ["result"]
    kept.close()


def test_other_models_do_not_count(kept):
    kept.put(result("crack", model="other"), result("crack"), result("crack", model="other"))
    assert all(e.kind == "result" for e in kept.entries())


rules = st.lists(
    st.builds(
        lambda n, count, window, labels, model, hook: Rule(
            f"r{n}", ModelName(model), min(count, window), window, labels, 0.5, hook
        ),
        st.integers(0, 99), st.integers(1, 4), st.integers(1, 4), st.sampled_from([(), ("a",), ("a", "b")]),
        st.sampled_from(["boards", "other"]), st.sampled_from([None, "http://w"]),
    ),
    max_size=3, unique_by=lambda r: r.name,
)  # fmt: skip
streams = st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.sampled_from(["boards", "other"])), max_size=12)


@settings(max_examples=25)
@given(rules, streams, st.booleans())
def test_rules_fire_exactly_as_the_core_says(tmp_path_factory, rules, stream, one_by_one):
    kept = Kept(tmp_path_factory.mktemp("r") / "j.db", tuple(rules))
    results = [result(*sorted(labels), model=model) for labels, model in stream]
    if one_by_one:
        for one in results:
            kept.put(one)
    else:
        kept.put(*results)
    want, memories, calls = [], {}, []
    for one in results:
        want.append(one)
        seq = len(want)
        for rule in rules:
            if rule.model == one.model:
                before = memories.get(rule.identity, Memory())
                memories[rule.identity], fires = feed(rule, before, one.findings)
                if fires:
                    want.append((rule.name, seq))
                    calls += [len(want)] if rule.webhook else []
    found = kept.entries()
    assert [e.seq for e in found] == list(range(1, len(want) + 1))
    assert [(e.body.rule, e.body.result) if e.kind == "alarm" else e.body for e in found] == want
    assert [c.seq for c in kept.journal.calls()] == calls
    assert kept.journal.memories() == memories
    kept.close()


def test_many_threads_gather_into_few_commits(kept):
    nudges, places = [], []
    kept.recorder.nudges.append(lambda: nudges.append(1))

    def work():
        for _ in range(25):
            places.extend(kept.put(result("x")))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(p.split("/")[1]) for p in places) == list(range(1, 201))
    assert len(nudges) <= 200
    assert [e.seq for e in kept.entries()] == list(range(1, 201))


def test_a_full_disk_gives_no_place_and_is_counted(tmp_path):
    kept = Kept(tmp_path / "j.db", limit=1 << 18)
    nudges = []
    kept.recorder.nudges.append(lambda: nudges.append(1))
    assert kept.put(result("crack"), picture=bytes(300_000)) == [""]  # larger than the whole journal
    assert b"skerry_results_unrecorded_total 1.0" in kept.metrics.page()
    assert kept.put(result("crack"), picture=bytes(300_000)) == [""]
    assert b'skerry_alarms_total{rule="two of three"} 1.0' in kept.metrics.page()  # an alarm is raised all the same
    assert [json.loads(c.body)["rule"] for c in kept.journal.calls()] == ["two of three"]
    assert nudges
    for call in kept.journal.calls():
        kept.journal.called(call.seq)
    assert kept.journal.calls() == []
    (place,) = kept.put(result("x"))
    assert place != ""
    kept.close()


def test_stop_commits_what_was_handed_over(tmp_path):
    kept = Kept(tmp_path / "j.db")
    futures = [kept.recorder.record(result("x"), b"") for _ in range(300)]
    kept.recorder.stop()
    assert all(f.done() and f.result() for f in futures)
    assert kept.journal.backlog() == 300
    kept.journal.close()


# --- the layer ---


def noted(**more):
    """Return what a worker says of an image beside its answer."""
    return Note(json.dumps(replace(result("x"), **more).json()).encode())


def handed_over(kept, body, *notes):
    """Hand an answer over as the site does; return the places."""
    arena, told = Arena(1 << 26, 1 << 26), []
    with looping() as running:
        ticket = Ticket(Op.PREDICT, arena, len(body), 100)
        ticket.body[:] = body
        answer = Answered(b"{}", notes=ENCODER.encode(notes))
        running.do(lambda: Recorded(kept.recorder)(ticket, answer, told.append))
        ticket.close()  # at once: whatever is kept of the body was copied
        until("the places", lambda: told)
    arena.close()
    return told[0]


@pytest.mark.parametrize(("size", "sent"), [(10, 10), (MAX_PICTURE, MAX_PICTURE), (MAX_PICTURE + 1, 0)])
def test_the_layer_records_images_and_their_pictures_up_to_the_limit(kept, size, sent):
    places = handed_over(kept, b"p" * size, noted(source="cam", width=7, height=8, millis=1.235))
    assert places == [f"{kept.journal.epoch}/1"]
    (entry,) = kept.entries()
    assert entry.picture == b"p" * sent
    assert (entry.body.source, entry.body.width, entry.body.height, entry.body.millis) == ("cam", 7, 8, 1.235)


def test_the_layer_records_every_image_of_a_request_with_its_own_picture(kept):
    notes = [Note(noted(source=name).result, picture) for name, picture in (("a", b"one"), ("b", b"two"))]
    assert len(handed_over(kept, b"a form", *notes)) == 2
    assert [(e.body.source, e.picture) for e in kept.entries()] == [("a", b"one"), ("b", b"two")]


def test_the_layer_tells_of_a_journal_that_takes_no_more(tmp_path):
    journal = Journal(tmp_path / "j.db", 1 << 24)
    recorder = Recorder(journal, (), FakeClock(), Metrics(), "here")  # not started: the disk stalls
    with pytest.raises(QueueFull):
        while True:
            recorder.record(result(), bytes(MAX_PICTURE))

    class Stalled:
        def __init__(self):
            self.recorder = recorder

    assert isinstance(handed_over(Stalled(), bytes(MAX_PICTURE), noted()), QueueFull)
    journal.close()


def test_a_request_that_was_given_up_does_no_harm(kept):
    futures = [kept.recorder.record(result(), b"") for _ in range(50)]
    for future in futures:
        future.cancel()
    assert kept.put(result())[0]


def test_a_fault_of_our_own_leaves_nobody_waiting(tmp_path):
    kept = Kept(tmp_path / "j.db")
    broken = kept.recorder.record(replace(result(), findings=5), b"")
    with pytest.raises(TypeError):
        broken.result(10)
    assert kept.put(result("crack"))[0]
    kept.close()


def test_what_waits_for_the_disk_is_bounded(tmp_path):
    journal = Journal(tmp_path / "j.db", 1 << 24)
    recorder = Recorder(journal, (), FakeClock(), Metrics(), "here")  # not started: the disk stalls
    with pytest.raises(QueueFull, match="wait for the disk"):
        for _ in range(100):
            recorder.record(result(), bytes(MAX_PICTURE))
    journal.close()


def test_an_alarm_of_a_rule_with_a_thousand_labels_can_be_read_back(tmp_path):
    many = replace(RULE, labels=tuple(f"label number {n}" for n in range(1000)), count=1, window=1)
    kept = Kept(tmp_path / "j.db", (many,))
    kept.put(result("label number 7"))
    assert [e.kind for e in kept.entries()] == ["result", "alarm"]
    kept.close()
