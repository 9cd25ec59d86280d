"""What is measured of a model at one moment: how right, how large, how fast, how far from the one it came from.

Each value is read from JSON by its own `read`; what this version does not know stays in `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skerry.core.fields import Fields
from skerry.core.gate import LEVEL, Interval

Extra = Mapping[str, Any]

MOST_COUNT = 1 << 53  # JSON numbers beyond are not exact everywhere


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers, or another score from 0 to 1 (`kind`: top-1, mAP@0.5, …), of `count` examples."""

    kind: str
    value: float
    interval: Interval
    count: int
    data: str = ""  # the name and split of the data
    extra: Extra = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        told = {"kind": self.kind, "value": self.value, "count": self.count, "data": self.data}
        return {**self.extra, **told, "interval": interval_json(self.interval)}

    @staticmethod
    def read(value: object) -> Accuracy:
        """Return it from a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Accuracy(
            kind=fields.text("kind", limit=64),
            value=fields.real("value", low=0.0, high=1.0),
            interval=fields.read("interval", read_interval),
            count=fields.whole("count", high=MOST_COUNT),
            data=fields.text("data", default=""),
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class Latency:
    """How long one run takes, in microseconds, of so many samples, with so many threads."""

    p50_us: float
    p99_us: float
    samples: int
    threads: int = 1
    extra: Extra = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        told = {"p50_us": self.p50_us, "p99_us": self.p99_us, "samples": self.samples, "threads": self.threads}
        return {**self.extra, **told}

    @staticmethod
    def read(value: object) -> Latency:
        """Return it from a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Latency(
            p50_us=fields.real("p50_us", low=0.0),
            p99_us=fields.real("p99_us", low=0.0),
            samples=fields.whole("samples", high=MOST_COUNT),
            threads=fields.whole("threads", default=1, low=1, high=4096),
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class Ratio:
    """How long one model takes against another, measured in turns: the median of `rounds`, and its interval."""

    value: float
    interval: Interval
    rounds: int
    extra: Extra = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        told = {"value": self.value, "interval": interval_json(self.interval), "rounds": self.rounds}
        return {**self.extra, **told}

    @staticmethod
    def read(value: object) -> Ratio:
        """Return it from a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Ratio(
            value=fields.real("value", low=0.0),
            interval=fields.read("interval", read_interval),
            rounds=fields.whole("rounds", high=MOST_COUNT),
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class Difference:
    """How far outputs lie from another model's on the same inputs: the greatest and the mean, over so many inputs."""

    greatest: float
    mean: float
    inputs: int
    extra: Extra = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**self.extra, "greatest": self.greatest, "mean": self.mean, "inputs": self.inputs}

    @staticmethod
    def read(value: object) -> Difference:
        """Return it from a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Difference(
            greatest=fields.real("greatest", low=0.0),
            mean=fields.real("mean", low=0.0),
            inputs=fields.whole("inputs", high=MOST_COUNT),
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class Effect:
    """All that is known of a model at one moment; what was not measured is None.

    `coverage` is the share of multiplications that run in INT8 kernels; `ratio` and `difference` are against the
    model that the whole run began with.
    """

    size: int | None = None  # bytes of the model's file
    accuracy: Accuracy | None = None
    latency: Latency | None = None
    ratio: Ratio | None = None
    difference: Difference | None = None
    coverage: float | None = None
    extra: Extra = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values; without what was not measured."""
        parts = {
            "accuracy": self.accuracy,
            "latency": self.latency,
            "ratio": self.ratio,
            "difference": self.difference,
        }
        told: dict[str, Any] = {"size": self.size, "coverage": self.coverage}
        told |= {name: None if part is None else part.json() for name, part in parts.items()}
        return {**self.extra, **{name: one for name, one in told.items() if one is not None}}

    @staticmethod
    def read(value: object) -> Effect:
        """Return it from a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Effect(
            size=fields.whole("size", default=None, high=MOST_COUNT),
            accuracy=fields.read("accuracy", Accuracy.read, default=None),
            latency=fields.read("latency", Latency.read, default=None),
            ratio=fields.read("ratio", Ratio.read, default=None),
            difference=fields.read("difference", Difference.read, default=None),
            coverage=fields.real("coverage", default=None, low=0.0, high=1.0),
            extra=fields.rest(),
        )


def interval_json(one: Interval) -> dict[str, Any]:
    """Return an interval as JSON values."""
    return {"low": one.low, "high": one.high, "level": one.level}


def read_interval(value: object) -> Interval:
    """Return the interval in a JSON value; what else it holds is not kept."""
    fields = Fields(value, "")
    low = fields.real("low")
    return Interval(low, fields.real("high", low=low), fields.real("level", default=LEVEL, low=0.0, high=1.0))
