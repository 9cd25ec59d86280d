"""The recorder: results into the journal, many in one commit, with the alarms that follow from them.

One thread: requests hand over a result and wait for its commit; while one commit is under way the next
results gather, so a slow disk costs one wait each, not one after the other.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from skerry.core.errors import QueueFull
from skerry.core.rules import Memory, Rule, feed
from skerry.host.clock import Clock
from skerry.node.metrics import Metrics
from skerry.node.record.journal import Call, Journal
from skerry.wire.results import Alarm, Entry, Result

log = logging.getLogger(__name__)

MAX_GATHER = 256  # results in one commit
MAX_GATHER_BYTES = 32 << 20  # of their pictures; a commit of more would hold up the first for too long
MAX_HANDED = 4096  # results waiting to be committed
MAX_WAITING = 128 << 20  # bytes of their pictures; a disk that stalls must not fill the memory
MAX_TEXT = 1000  # characters of an alarm's text


@dataclass(frozen=True)
class _Handed:
    result: Result
    picture: bytes
    future: Future[str]


class Recorder:
    """Takes results; each of `nudges` is called whenever something new was committed."""

    def __init__(self, journal: Journal, rules: Sequence[Rule], clock: Clock, metrics: Metrics, node: str) -> None:
        self.nudges: list[Callable[[], None]] = []
        self._journal = journal
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._node = node
        self._identities = {rule.name: rule.identity for rule in rules}
        self._memories = journal.memories()
        self._lock = threading.Lock()
        self._waiting = 0  # bytes of pictures handed over and not yet committed
        self._queue: queue.Queue[_Handed | None] = queue.Queue(MAX_HANDED)
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to commit."""
        self._metrics.backlog.set_function(self._journal.backlog)
        self._thread.start()

    def stop(self) -> None:
        """Commit what was handed over, then end."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def record(self, result: Result, picture: bytes) -> Future[str]:
        """Hand over a result; the future gives its "epoch/seq" once it is on disk, or "" if the disk refused it.

        Raises QueueFull if more waits for the disk than may wait.
        """
        future: Future[str] = Future()
        with self._lock:
            if self._waiting + len(picture) > MAX_WAITING:
                raise QueueFull(f"journal: {self._waiting} bytes of results wait for the disk; try later")
            self._waiting += len(picture)
        try:
            self._queue.put_nowait(_Handed(result, picture, future))
        except queue.Full:
            self._done(len(picture))
            raise QueueFull(f"journal: {MAX_HANDED} results wait for the disk; try later") from None
        return future

    def _done(self, size: int) -> None:
        with self._lock:
            self._waiting -= size

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            gathered, size = [first], len(first.picture)
            while len(gathered) < MAX_GATHER and size < MAX_GATHER_BYTES and not self._queue.empty():
                one = self._queue.get_nowait()
                if one is None:
                    self._queue.put(None)
                    break
                gathered.append(one)
                size += len(one.picture)
            try:
                self._commit([one for one in gathered if one.future.set_running_or_notify_cancel()])
            except Exception as error:  # boundary: a fault of ours must not leave every later request waiting
                log.exception("journal: a fault of Skerry's own; %d results are not recorded", len(gathered))
                for one in gathered:
                    if not one.future.done():
                        one.future.set_exception(error)
            self._done(size)

    def _commit(self, gathered: Sequence[_Handed]) -> None:
        entries: list[Entry] = []
        calls: list[Call] = []
        memories, places = dict(self._memories), []
        changed: dict[str, Memory] = {}
        now = self._clock.now()
        for one in gathered:
            seq = self._journal.next_seq + len(entries)
            places.append(seq)
            entries.append(Entry(seq, now, one.result, one.picture))
            for rule in self._rules:
                if rule.model != one.result.model:
                    continue
                identity = self._identities[rule.name]
                memory, fired = feed(rule, memories.get(identity, Memory()), one.result.findings)
                memories[identity] = changed[identity] = memory
                if fired:
                    alarm = Alarm(rule.name, rule.model, seq, _text(rule))
                    place = self._journal.next_seq + len(entries)
                    entries.append(Entry(place, now, alarm))
                    if rule.webhook:
                        calls.append(Call(place, rule.webhook, self._message(alarm, place, now, one.result)))
        try:
            self._journal.write(entries, calls, changed)
        except OSError as error:
            log.error("journal: %d results could not be written: %s", len(gathered), error)
            self._metrics.unrecorded.inc(len(gathered))
            self._memories = memories
            self._journal.hold(calls)
            self._tell(entries)
            for one in gathered:
                one.future.set_result("")
            return
        self._memories = memories
        self._tell(entries)
        for one, seq in zip(gathered, places, strict=True):
            one.future.set_result(f"{self._journal.epoch}/{seq}")

    def _tell(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry.body, Alarm):
                self._metrics.alarm(entry.body.rule)
                log.warning("alarm: %s: %s", entry.body.rule, entry.body.text)
        for nudge in self.nudges:
            nudge()

    def _message(self, alarm: Alarm, seq: int, at: float, result: Result) -> str:
        identity = {"id": f"{self._node}/{self._journal.epoch}/{seq}/{round(at * 1000)}", "node": self._node, "at": at}
        return json.dumps({**identity, **alarm.json(), "source": result.source,
                           "findings": [f.json() for f in result.findings]})  # fmt: skip


def _text(rule: Rule) -> str:
    what = " or ".join(rule.labels) if rule.labels else "findings"
    return f"{rule.count} of the last {rule.window} results of {rule.model} with {what}"[:MAX_TEXT]
