"""Which nodes are worth their float: for each, how much nearer the answers come when it alone goes back, and its time.

Nodes are tried in the order of a cheap guess (how far INT8 moves their own outputs), so that a deadline cuts off those
that matter least. The error is of the model's outputs against the float model's, on a few samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import onnx

from skerry.forge.optimise.coverage import Coverage, cover
from skerry.forge.optimise.observe import Observed
from skerry.forge.optimise.plan import Recipe, plan
from skerry.forge.optimise.quantise import Calibrated, error_of
from skerry.forge.optimise.rewrites.net import Array, Net
from skerry.forge.optimise.work import Feeds, Work

SAMPLES = 8  # that each choice is judged on
LEAST_MICROS = 0.5  # a node never loses less: the profile tells whole microseconds


@dataclass(frozen=True)
class Weight:
    """What one node does to the answers."""

    node: str
    gained: float  # error of the outputs that goes away when this node alone is float
    micros: float  # that a run is then longer; below 0: INT8 was the slower one

    @property
    def worth(self) -> float:
        """Error that goes away for each microsecond; endless where float costs nothing."""
        if self.micros <= 0:
            return float("inf") if self.gained > 0 else 0.0
        return self.gained / max(self.micros, LEAST_MICROS)


@dataclass(frozen=True)
class Ranking:
    """All that was found: the error in INT8, and the nodes, the worthiest first."""

    error: float
    weights: tuple[Weight, ...]
    untried: tuple[str, ...] = ()

    def floats(self, count: int) -> frozenset[str]:
        """Return the nodes to leave in float, the first so many that gain anything."""
        return frozenset(weight.node for weight in self.weights[:count] if weight.gained > 0)


def rank(measured: Calibrated, recipe: Recipe, work: Work, samples: int = SAMPLES) -> Ranking:
    """Return what each node with weights would gain as float, one node at a time."""
    feeds = list(islice(iter(work.feeds), samples))
    with Observed(measured.model) as session:
        wanted = [session.run(feed) for feed in feeds]
    ranges = measured.ranges(recipe.method)
    whole = measured.quantised(recipe, ranges)
    error = error_of(whole, feeds, wanted)
    names = _guessed(measured, recipe, whole, feeds)
    before = cover(whole, feeds[0], level="all")
    found: list[Weight] = []
    for done, name in enumerate(names):
        if found and work.late():
            work.say(f"ranking: the time was over after {done} of {len(names)} nodes")
            break
        changed = measured.quantised(replace(recipe, floats=recipe.floats | {name}), ranges)
        gained = error - error_of(changed, feeds, wanted)
        found.append(Weight(name, gained, _lost(before, cover(changed, feeds[0], level="all"))))
        work.watch(done + 1, len(names), f"ranking {name}")
    ordered = sorted(found, key=lambda weight: (weight.worth, weight.gained), reverse=True)
    return Ranking(error, tuple(ordered), tuple(names[len(found) :]))


def _lost(before: Coverage, after: Coverage) -> float:
    """Return the microseconds that a run takes longer, by the sum of its operators' medians."""
    return after.micros - before.micros


def _guessed(measured: Calibrated, recipe: Recipe, whole: onnx.ModelProto, feeds: Sequence[Feeds]) -> list[str]:
    """Return the nodes with weights, those whose own output INT8 moves most (relative to its power) first."""
    net = Net(measured.model)
    chosen = plan(net, recipe)
    tensors = {node.name: chosen.absorbed.get(node.name, node).output[0] for node in chosen.weighted}
    made = {name for node in whole.graph.node for name in node.output}
    seen = {name: tensor for name, tensor in tensors.items() if tensor in made}
    gaps: dict[str, float] = dict.fromkeys(tensors, 0.0)
    with Observed(measured.model, seen.values()) as one, Observed(whole, seen.values()) as other:
        for feed in feeds[:2]:
            true, got = one.run(feed), other.run(feed)
            for name, tensor in seen.items():
                gaps[name] += _relative(true[tensor], got[tensor])
    return sorted(gaps, key=lambda name: gaps[name], reverse=True)


def _relative(true: Array, got: Array) -> float:
    wide = true.astype(np.float64)
    return float(np.square(got - wide).sum() / max(float(np.square(wide).sum()), 1e-30))
