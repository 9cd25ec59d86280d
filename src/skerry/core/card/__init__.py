"""The card: what was measured of a bundle, on what data, how it was made, and what its gates said.

It lies in the bundle as `card.json`, so the manifest names its digest. Nothing in it tells the day or the machine's
name, so that the same recipe gives the same bytes. `effect` holds what is measured at one moment, `card` the whole.
"""

from skerry.core.card.card import CARD, MAX_CARD, Card, DataUse, NotRun, Parity, Pass, Target, read_card
from skerry.core.card.effect import Accuracy, Difference, Effect, Latency, Ratio

__all__ = [
    "CARD",
    "MAX_CARD",
    "Accuracy",
    "Card",
    "DataUse",
    "Difference",
    "Effect",
    "Latency",
    "NotRun",
    "Parity",
    "Pass",
    "Ratio",
    "Target",
    "read_card",
]
