"""How a metric family is made of readings, and how it becomes text piece by piece. The text is the library's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from skerry.node.metrics.reading import Reading

MODEL = ("model", "version")
PIECE = 128  # lines; about 1 ms of work on a slow board, which is what a request may have to wait for a scrape


@dataclass(frozen=True)
class Maker:
    """One family: how to make it of readings, and how many lines each of them gives."""

    make: Callable[[Sequence[Reading]], Metric]
    lines: int


class One:
    """A collector of one family, for the library's writer."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield self._family


def written(family: Metric) -> bytes:
    """Return a family as text. One that is untyped is a counter whose name must stay without _total."""
    found: bytes = generate_latest(One(family))
    # The library gives every counter that suffix, and lines of text cannot hold a heading: their ends are escaped.
    return found.replace(f"# TYPE {family.name} untyped\n".encode(), f"# TYPE {family.name} counter\n".encode(), 1)


def pieces(maker: Maker, readings: Sequence[Reading]) -> Iterator[bytes]:
    """Yield the text of a family, a model's versions always in one piece; the heading is in the first."""
    if not readings:
        yield written(maker.make(()))
    for index, some in enumerate(_chunks(readings, max(1, PIECE // maker.lines))):
        found = written(maker.make(some))
        yield found if index == 0 else found.split(b"\n", 2)[2]  # HELP and TYPE stand once


def le(bounds: Iterable[float], counts: Sequence[int], total: int) -> list[tuple[str, float]]:
    """Return a histogram's buckets as the library takes them."""
    return [*((repr(float(bound)), count) for bound, count in zip(bounds, counts, strict=True)), ("+Inf", total)]


def sized(counts: Mapping[int, int], bounds: Sequence[int]) -> tuple[list[tuple[str, float]], float]:
    """Return the buckets and the sum of counts by size."""
    below = [sum(count for size, count in counts.items() if size <= bound) for bound in bounds]
    return le(bounds, below, sum(counts.values())), sum(size * count for size, count in counts.items())


def tally(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    """Return a counter with one label."""
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


def _chunks(readings: Sequence[Reading], size: int) -> Iterator[list[Reading]]:
    some: list[Reading] = []
    for _, group in groupby(readings, key=lambda one: one.model):
        some.extend(group)
        if len(some) >= size:
            yield some
            some = []
    if some:
        yield some
