"""The counts of one version of one model: plain lists of integers that one thread, the event loop, adds to.

Here lives what runs once per request, and nothing that knows of a page. There is no lock: `done` is called from one
thread, and what reads (`reading`) runs in that thread too, or under the caller's lock.

Two counts are left out on purpose, because they follow from the others when somebody looks:
the first bucket of a phase (what is in no other one), and the counts by batch size (most requests have the size of
the one before; only a change of size settles them).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from skerry.host.clock import Clock
from skerry.node.metrics.reading import Reading, Shadowed, Timed

PHASES: Final = ("parse", "queue", "preprocess", "infer", "postprocess", "encode")

# Seconds. From a tiny model (0.1 ms) to a detector on a slow board (5 s), three buckets a decade.
BUCKETS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
TFS_BUCKETS: Final = tuple(10 * 1.8**n for n in range(33))  # microseconds; TensorFlow Serving's, 10 us to 25 minutes

# Nanoseconds, rounded down: for whole numbers, n <= bound and n <= floor(bound) are one thing.
COARSE: Final = tuple(round(bound * 1e9) for bound in BUCKETS)
TFS_COARSE: Final = tuple(int(bound * 1000) for bound in TFS_BUCKETS)
FINE: Final = tuple(sorted({*COARSE, *TFS_COARSE}))  # both sets at once, so that both pages show one count
FIRST: Final = COARSE[0]

RATIOS: Final = (0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)  # a candidate's time over the served one's

RECENT: Final = 1024  # answers that p50 and p99 are taken from; a p99 needs some hundreds to mean anything
MINUTE: Final = 60.0  # seconds over which the rate is taken
MAX_APIS: Final = 16  # label values of a series; a caller's typing error must not grow the page
MAX_FAILURES: Final = 64
MAX_SIZES: Final = 64  # exact batch sizes; a caller chooses them, so further ones round up to a power of two
OTHER: Final = "other"


class Shadow:
    """How a candidate's answers compare with those that were given."""

    __slots__ = ("_agreed", "_compared", "_errors", "_ratios", "_sum")

    def __init__(self) -> None:
        self._compared = self._agreed = self._errors = 0
        self._ratios = [0] * (len(RATIOS) + 1)
        self._sum = 0.0

    def compared(self, agreed: bool, ratio: float) -> None:
        """Count one comparison; `ratio` is the candidate's time over that of the one that served."""
        self._compared += 1
        self._agreed += agreed
        self._ratios[bisect_left(RATIOS, ratio)] += 1
        self._sum += ratio

    def failed(self) -> None:
        """Count a request that the candidate could not answer and the served one could."""
        self._errors += 1

    def reading(self) -> Shadowed:
        """Return the counts as they stand."""
        return Shadowed(self._compared, self._agreed, self._errors, tuple(self._ratios), self._sum)


class Series:
    """The counts of one version of one model.

    `pending` and `inflight` are moved up and down by whoever queues and runs. The rest is set once it is known:
    `load_seconds`; `bare_ms` and `added_ms`, the runtime alone and what serving adds; `memory`, asked at each look.
    """

    __slots__ = (
        "_apis", "_born", "_cell", "_cells", "_clock", "_encode", "_failures", "_infer", "_key", "_last", "_marks",
        "_parse", "_postprocess", "_preprocess", "_queue", "_recent", "_requests", "_runs", "_settled", "_skips",
        "_turn", "added_ms", "bare_ms", "inflight", "load_seconds", "memory", "model", "pending", "shadow", "version",
    )  # fmt: skip

    def __init__(self, model: str, version: str, clock: Clock) -> None:
        self.model, self.version = model, version
        self.pending = self.inflight = 0
        self.load_seconds: float | None = None
        self.bare_ms: float | None = None
        self.added_ms: float | None = None
        self.memory: Callable[[], int] | None = None
        self.shadow = Shadow()
        # The last place of each list is the sum of nanoseconds; the first stays 0 (see `done`), save in _infer.
        self._parse, self._queue, self._preprocess, self._postprocess, self._encode = (
            [0] * (len(COARSE) + 2) for _ in range(5)
        )
        self._infer = [0] * (len(FINE) + 2)
        self._apis: dict[str, list[int]] = {}
        self._failures: dict[tuple[str, str], list[int]] = {}  # (api, outcome) -> count, nanoseconds
        self._skips = 0
        self._requests = 0
        self._recent = [0] * RECENT
        self._key = 1  # the batch size of the requests since the last settlement; ~size for those run in company
        self._settled = (0, 0, 0, 0)  # requests, input, infer and output nanoseconds at the last settlement
        self._cell = [0] * 5  # of that size: requests, examples, input, infer and output nanoseconds
        self._cells = {self._key: self._cell}
        self._runs: dict[int, list[int]] = {}  # examples in a run in company -> runs, input, infer, output nanoseconds
        self._clock = clock
        self._born = clock.monotonic()
        self._last = 0.0
        self._turn = 0.0  # when the next mark is due
        self._marks: deque[tuple[float, int]] = deque(maxlen=int(MINUTE) + 2)  # at most one a second

    def done(self, api: str, nanos: Sequence[int], batch: int, total: int, alone: bool = True) -> None:
        """Count one good answer: nanoseconds by phase, examples in the request, nanoseconds in all.

        `alone` is false for a request that ran in one batch with others; that batch is counted by `ran`.
        """
        parse, queue, preprocess, infer, postprocess, encode = nanos
        key = batch if alone else ~batch
        if key != self._key:
            self._settle(key)
        self._last = now = self._clock.monotonic()
        if now >= self._turn:
            self._mark(now)
        # Written out, not looped: 0.8 us against 1.2 for tensors, 1.0 against 1.2 for an image (medians of 31 runs of
        # 20,000 calls). A time below the first bound is added, and searched for nowhere.
        cells = self._parse
        cells[-1] += parse
        if parse > FIRST:
            cells[bisect_left(COARSE, parse)] += 1
        cells = self._queue
        cells[-1] += queue
        if queue > FIRST:
            cells[bisect_left(COARSE, queue)] += 1
        if preprocess:
            cells = self._preprocess
            cells[-1] += preprocess
            if preprocess > FIRST:
                cells[bisect_left(COARSE, preprocess)] += 1
        cells = self._infer
        cells[bisect_left(FINE, infer)] += 1
        cells[-1] += infer
        if postprocess:
            cells = self._postprocess
            cells[-1] += postprocess
            if postprocess > FIRST:
                cells[bisect_left(COARSE, postprocess)] += 1
        cells = self._encode
        cells[-1] += encode
        if encode > FIRST:
            cells[bisect_left(COARSE, encode)] += 1
        try:
            cells = self._apis[api]
        except KeyError:
            cells = self._api(api)
        cells[bisect_left(FINE, total)] += 1
        cells[-1] += total
        count = self._requests
        self._recent[count % RECENT] = total
        self._requests = count + 1

    def ran(self, batch: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count one run of the model on examples of several requests."""
        place = batch if batch in self._runs or len(self._runs) < MAX_SIZES else 1 << max(0, batch - 1).bit_length()
        cell = self._runs.setdefault(place, [0] * 4)
        for index, more in enumerate((1, input_ns, infer_ns, output_ns)):
            cell[index] += more

    def failed(self, api: str, outcome: str, total: int = 0) -> None:
        """Count one request without an answer; `outcome` is the error's class, `total` its nanoseconds if known."""
        cell = self._failures.get((api, outcome))
        if cell is None:
            key = (api, outcome) if len(self._failures) < MAX_FAILURES else (OTHER, OTHER)
            cell = self._failures.setdefault(key, [0, 0])
        cell[0] += 1
        cell[1] += total

    def rejected(self, api: str = OTHER) -> None:
        """Count one request that was turned away because too many wait."""
        self.failed(api, "QueueFull")

    def skipped(self) -> None:
        """Count one frame that a newer one overtook in a stream that wants the latest only."""
        self._skips += 1

    def reading(self) -> Reading:
        """Return the counts as they stand; later ones do not change it."""
        self._settle(self._key)
        now, requests = self._clock.monotonic(), self._requests
        apis = {api: Timed(tuple(cells[:-1]), cells[-1]) for api, cells in self._apis.items()}
        total = Timed.of_all(apis.values(), len(FINE) + 1)
        short = (self._parse, self._queue, self._preprocess, self._postprocess, self._encode)
        parse, queue, preprocess, postprocess, encode = (_filled(cells, requests) for cells in short)
        infer = Timed(tuple(self._infer[:-1]), self._infer[-1])
        return Reading(
            model=self.model,
            version=self.version,
            requests=requests,
            examples=sum(cell[1] for cell in self._cells.values()),
            phases=dict(zip(PHASES, (parse, queue, preprocess, infer, postprocess, encode), strict=True)),
            total=total,
            apis=apis,
            failures={key: (cell[0], cell[1]) for key, cell in self._failures.items()},
            skips=self._skips,
            sizes=self._sizes(),
            batches=self._batches(),
            recent=tuple(sorted(self._recent[: min(requests, RECENT)])),
            rate=self._rate(now),
            last=self._clock.now() - (now - self._last) if requests else 0.0,
            pending=self.pending,
            inflight=self.inflight,
            load_seconds=self.load_seconds,
            bare_ms=self.bare_ms,
            added_ms=self.added_ms,
            memory=self.memory() if self.memory is not None else 0,
            shadow=self.shadow.reading(),
        )

    def _settle(self, key: int) -> None:
        """Add the requests since the last time to the counts of their size, and go on with another one."""
        requests, before, infer, after = self._settled
        more, cell = self._requests - requests, self._cell
        cell[0] += more
        cell[1] += max(self._key, ~self._key) * more
        parts = self._parse[-1] + self._preprocess[-1], self._infer[-1], self._postprocess[-1] + self._encode[-1]
        cell[2] += parts[0] - before
        cell[3] += parts[1] - infer
        cell[4] += parts[2] - after
        self._settled = (self._requests, *parts)
        if key != self._key:
            self._key = key
            self._cell = self._cells.get(key) or self._sized(key)

    def _sized(self, key: int) -> list[int]:
        """Return the cell of a new size; past MAX_SIZES, of the power of two above it."""
        if len(self._cells) >= MAX_SIZES:
            above = 1 << max(0, max(key, ~key) - 1).bit_length()
            key = above if key >= 0 else ~above
        return self._cells.setdefault(key, [0] * 5)

    def _api(self, api: str) -> list[int]:
        place = api if len(self._apis) < MAX_APIS else OTHER
        return self._apis.setdefault(place, [0] * (len(FINE) + 2))

    def _sizes(self) -> dict[int, int]:
        """Return the requests by the examples in them."""
        found: dict[int, int] = {}
        for key, cell in self._cells.items():
            size = max(key, ~key)
            if cell[0]:
                found[size] = found.get(size, 0) + cell[0]
        return dict(sorted(found.items()))

    def _batches(self) -> dict[int, tuple[int, int, int, int]]:
        """Return the runs, and their input, infer and output nanoseconds, by the examples in them."""
        found = {size: (c[0], c[1], c[2], c[3]) for size, c in self._runs.items()}
        for size, c in self._cells.items():
            if size >= 0 and c[0]:
                runs, before, infer, after = found.get(size, (0, 0, 0, 0))
                found[size] = (runs + c[0], before + c[2], infer + c[3], after + c[4])
        return dict(sorted(found.items()))

    def _mark(self, now: float) -> None:
        self._marks.append((now, self._requests))
        self._turn = now + 1

    def _rate(self, now: float) -> float:
        """Return the answers per second of the last minute, or of the series' life if that is shorter."""
        before = next((count for at, count in self._marks if at > now - MINUTE), self._requests)
        return (self._requests - before) / max(1.0, min(MINUTE, now - self._born))


def _filled(cells: Sequence[int], requests: int) -> Timed:
    """Return a phase's counts with the first bucket, which is what no other one holds."""
    return Timed((requests - sum(cells[1:-1]), *cells[1:-1]), cells[-1])
