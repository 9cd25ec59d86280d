"""The truth meter: what a model really does, in the very session that the node serves with.

`measure` asks how right it is, `differ` how far it lies from another, `race` how long it takes beside others, in turns.
`compare` puts two measurements to core.gate. Numbers come with intervals and counts, as the card wants them.
"""

from skerry.forge.measure.bootstrap import difference_interval, mean_interval, median_interval
from skerry.forge.measure.boxes import Detected
from skerry.forge.measure.classes import Bin, Classified, Mistake
from skerry.forge.measure.compare import compare
from skerry.forge.measure.differ import differ
from skerry.forge.measure.measure import Measured, measure
from skerry.forge.measure.opening import open_plain, open_wide
from skerry.forge.measure.race import Lane, Raced, race

__all__ = [
    "Bin",
    "Classified",
    "Detected",
    "Lane",
    "Measured",
    "Mistake",
    "Raced",
    "compare",
    "differ",
    "difference_interval",
    "mean_interval",
    "measure",
    "median_interval",
    "open_plain",
    "open_wide",
    "race",
]
