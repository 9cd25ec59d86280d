"""The passes that make a graph smaller and leave its answers alone: our rewrites, and onnxslim where it is installed.

Answers are compared before and after on the engine's own runner; a rewrite that moves one is refused, since
simplifiers have done so (onnxslim 277, 305).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice

import numpy as np
import onnx

from skerry.core.errors import Invalid, ModelError, RunFailed
from skerry.forge.optimise.observe import Observed, made_up
from skerry.forge.optimise.rewrites import compact, fold
from skerry.forge.optimise.rewrites.net import Net, operators
from skerry.forge.optimise.work import Feeds, Work

CLOSE = 1e-5  # of an output's largest value; folding moves float32 by about 1e-6
COMPARED = 4  # samples that answers are compared on
ROUNDS = 10  # of all rewrites; one enables another, a real graph is done after two or three

Rewrite = Callable[[Net], int]
REWRITES: Mapping[str, Rewrite] = {
    "defaults fixed": fold.fix_defaults,
    "no-ops dropped": fold.drop_noops,
    "constants folded": fold.fold_constants,
    "batch norms folded": fold.fold_batch_norms,
    "reductions pooled": fold.pool_reductions,
    "hard-swish joined": fold.join_hard_swish,
    "biases joined": fold.join_biases,
}


class AnswersMoved(ModelError):
    """A pass that must not change a model's answers did."""


@dataclass(frozen=True)
class Simplify:
    """Our own rewrites, over and over until none finds anything."""

    name: str = "simplify"

    def __call__(self, model: onnx.ModelProto, work: Work) -> onnx.ModelProto | None:
        """Return a graph of fewer nodes with the same answers."""
        changed, counts = rewritten(model)
        if not counts and len(changed.graph.node) == len(model.graph.node):
            work.say("nothing to rewrite")
            return None
        same_answers(model, changed, work)
        work.say("; ".join(f"{count} {what}" for what, count in counts.items()))
        work.say(counted(model, changed))
        return changed


@dataclass(frozen=True)
class Slim:
    """The onnxslim library, if it is there."""

    name: str = "onnxslim"

    def __call__(self, model: onnx.ModelProto, work: Work) -> onnx.ModelProto | None:
        """Return what onnxslim makes of the graph, if that is less and answers the same."""
        if find_spec("onnxslim") is None:
            work.say("onnxslim is not installed")
            return None
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        try:
            found = importlib.import_module("onnxslim").slim(copy)
            changed = Net(found).finish()
            same_answers(model, changed, work)
        except AnswersMoved as error:
            work.say(f"onnxslim refused: {error}")
            return None
        except Exception as error:  # boundary: another's code on any graph; the graph is good without it
            work.say(f"onnxslim failed: {type(error).__name__}: {str(error)[:200]}")
            return None
        if not kept_ends(model, changed):
            work.say("onnxslim refused: it changed what the model takes or gives")
            return None
        if len(changed.graph.node) >= len(model.graph.node):
            work.say("onnxslim found nothing")
            return None
        work.say(counted(model, changed))
        return changed


@dataclass(frozen=True)
class Compact:
    """The last pass: equal weights held once, short names inside, nothing in the file that no runtime reads.

    Half of a small INT8 model is names and zeros. Names of inputs and outputs stay; those of nodes do not.
    """

    name: str = "compact"

    def __call__(self, model: onnx.ModelProto, work: Work) -> onnx.ModelProto | None:
        """Return the same graph in a smaller file."""
        net = Net(model)
        compact.share_weights(net)
        net = Net(net.finish())
        compact.shorten(net)
        changed = net.finish()
        sizes = model.ByteSize(), changed.ByteSize()
        if sizes[1] >= sizes[0]:
            work.say("nothing to leave out")
            return None
        work.say(f"{sizes[0]} -> {sizes[1]} bytes")
        return changed


def rewritten(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, int]]:
    """Return the model after all rewrites and how often each was used; the answers are not compared here."""
    net, counts = Net(model), dict.fromkeys(REWRITES, 0)
    for _ in range(ROUNDS):
        before = sum(counts.values())
        for what, rewrite in REWRITES.items():
            counts[what] += rewrite(net)
        net = Net(net.finish())
        if sum(counts.values()) == before:
            break
    return net.finish(), {what: count for what, count in counts.items() if count}


def counted(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """Return one line: how many operators there were and are, by kind where that changed."""
    old, new = operators(before), operators(after)
    kinds = [
        f"{kind} {old.get(kind, 0)} -> {new.get(kind, 0)}" for kind in {**old, **new} if old.get(kind) != new.get(kind)
    ]
    return f"operators {sum(old.values())} -> {sum(new.values())}" + (f" ({', '.join(kinds)})" if kinds else "")


def kept_ends(before: onnx.ModelProto, after: onnx.ModelProto) -> bool:
    """Whether two models take and give the same: names, shapes, types."""
    return _ends(before) == _ends(after)


def _ends(model: onnx.ModelProto) -> list[tuple[str, bytes]]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in weights]
    return [(v.name, v.type.SerializeToString(deterministic=True)) for v in (*inputs, *model.graph.output)]


def same_answers(before: onnx.ModelProto, after: onnx.ModelProto, work: Work, close: float = CLOSE) -> float:
    """Return the largest difference, relative to each output's largest value; raise AnswersMoved above `close`."""
    feeds = list(islice(iter(work.feeds), COMPARED)) or made_up(before, work.seed)
    try:
        worst = difference(before, after, feeds)
    except (Invalid, RunFailed) as error:
        raise Invalid(f"answers cannot be compared, the model does not run on these samples: {error}") from error
    for name, gap in worst.items():
        if not gap <= close:
            raise AnswersMoved(f"output '{name}' moved by {gap:.2e} of its largest value; at most {close:.0e} may be")
    return max(worst.values(), default=0.0)


def difference(before: onnx.ModelProto, after: onnx.ModelProto, feeds: list[Feeds]) -> dict[str, float]:
    """Return for each output how far two models are apart on the same feeds, relative to its largest value."""
    found: dict[str, float] = {}
    with Observed(before) as one, Observed(after) as other:
        for feed in feeds:
            true, answers = one.run(feed), other.run(feed)
            for name, wanted in true.items():
                found[name] = max(found.get(name, 0.0), apart(wanted, answers[name]))
    return found


def apart(wanted: np.ndarray, got: np.ndarray) -> float:
    """Return the largest difference of two arrays relative to the largest value of the first; inf where one is NaN."""
    if wanted.shape != got.shape:
        return float("inf")
    if wanted.size == 0 or wanted.dtype.kind not in "fiu":
        return 0.0 if np.array_equal(wanted, got) else float("inf")
    one, other = wanted.astype(np.float64), got.astype(np.float64)
    if not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return float("inf")
    whole = np.isfinite(one)
    if not whole.any():
        return 0.0
    return float(np.abs(one[whole] - other[whole]).max() / max(np.abs(one[whole]).max(), 1e-12))
