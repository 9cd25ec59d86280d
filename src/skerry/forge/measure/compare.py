"""Whether a model after a pass is proven to lose less than may be lost: one question for classifiers and detectors."""

from __future__ import annotations

from skerry.core.errors import Invalid
from skerry.core.gate import Interval, Verdict, loss_gate, poisson_bound, value_gate
from skerry.forge.measure.boxes import OVERLAPS, Detected
from skerry.forge.measure.classes import Classified
from skerry.forge.measure.measure import Measured


def compare(before: Measured, after: Measured, most: float, overlap: float = OVERLAPS[1]) -> Verdict:
    """Return the verdict on "the loss is below `most`" (a share: 0.005 is half a point), on the same examples."""
    if isinstance(before, Classified) and isinstance(after, Classified):
        return loss_gate(before.paired(after), most)
    if isinstance(before, Detected) and isinstance(after, Detected):
        gain, found = before.gain(after, overlap)
        wide = _widened(Interval(-found.high, -found.low, found.level), before, after)
        shown = Interval(100 * wide.low, 100 * wide.high, wide.level)
        return value_gate(f"loss of mAP@{overlap:g}", 0.0 - 100 * gain, shown, 100 * most, len(before.names), " pt")
    raise Invalid("compare: expected two classifiers or two detectors; got one of each")


def _widened(loss: Interval, before: Detected, after: Detected) -> Interval:
    """Return the interval, with the width that a bootstrap cannot see if no picture was answered differently.

    None of n differing proves, by the rule of three, no more than that fewer than 3 / n of all pictures differ; each
    of those may lose all that it has.
    """
    if before.answers != after.answers:
        return loss
    most = min(1.0, poisson_bound(0, loss.level) / len(before.names))
    return Interval(loss.low - most, loss.high + most, loss.level)
