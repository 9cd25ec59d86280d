"""What a recipe is: a name, a function that trains a module, its dials; and what its owner asks of it. Values only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skerry.core import names
from skerry.core.card import Card
from skerry.core.errors import Invalid
from skerry.core.fields import Fields, string
from skerry.forge.data import Data
from skerry.forge.data.look import Watch
from skerry.forge.measure.measure import place_of

Dial = int | float
MOST_LABELS = 10_000  # that a card lists
DIALS = "dials"  # the card's option that holds a recipe's own


@dataclass(frozen=True)
class Parts:
    """The data, looked at and split. `labels` are the model's, in its order."""

    train: Data
    val: Data
    test: Data
    labels: tuple[str, ...]
    split: str  # how it was split, in words

    def rows(self, part: Data) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the numbers of a part as float32, an example in each row, and the places of their labels."""
        (array,) = part.arrays.values()
        x: NDArray[np.float32] = np.ascontiguousarray(array[list(part.rows)], dtype=np.float32)
        y = [place_of(example.label, self.labels) for example in part.examples]
        return torch.from_numpy(x), torch.tensor(y, dtype=torch.int64)


Train = Callable[[Parts, Mapping[str, Dial], Watch], torch.nn.Module]


@dataclass(frozen=True)
class Recipe:
    """A recipe. `train` gives a module whose forward returns {"probabilities": [n, labels]} for rows of numbers.

    The seed is set before it is called, and it has one thread: the same data and dials give the same weights.
    """

    name: str
    train: Train
    dials: Mapping[str, Dial] = field(default_factory=dict)  # its options, with their defaults


@dataclass(frozen=True)
class Asked:
    """What the owner asks of a run. All of it stands in the card, so that the run can be repeated."""

    name: str = ""  # of the model; that of the data if there is none
    version: int = 1
    seed: int = 0  # of the split and the training
    val: float = 0.15
    test: float = 0.2
    least: float = 0.0  # accuracy, a share, that a gate asks for; 0: only that the model beats a guess
    label: str = ""  # the column of a table
    labels: tuple[str, ...] = ()  # names of labels that are numbers in the data
    dials: Mapping[str, Dial] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return the options for a card; name, version and seed have places of their own."""
        told = {"val": self.val, "test": self.test, "least": self.least, "label": self.label}
        return {**told, "labels": list(self.labels), DIALS: dict(self.dials)}

    @staticmethod
    def of(card: Card, name: str, version: int) -> Asked:
        """Return what was asked when the card was written; raise Invalid naming a field that is wrong."""
        fields = Fields(dict(card.options), "card.options")
        return Asked(
            name=name,
            version=version,
            seed=card.seeds.get("run", 0),
            val=fields.real("val", low=0.0, high=1.0),
            test=fields.real("test", low=0.0, high=1.0),
            least=fields.real("least", default=0.0, low=0.0, high=1.0),
            label=fields.text("label", default=""),
            labels=fields.many("labels", string, default=(), limit=MOST_LABELS),
            dials=fields.read(DIALS, _dials, default={}),
        )


def dials_of(recipe: Recipe, given: Mapping[str, Dial]) -> dict[str, Dial]:
    """Return a recipe's dials with what is given in place of the defaults; raise Invalid for one that it has not."""
    strange = sorted(set(given) - set(recipe.dials))
    if strange:
        known = ", ".join(recipe.dials) or "none"
        raise Invalid(f"recipe {recipe.name}: no dial {', '.join(strange)}; it has: {known}")
    return {**recipe.dials, **given}


def _dials(value: object) -> dict[str, Dial]:
    found = Fields(value, "").rest()
    for name, one in found.items():
        if isinstance(one, bool) or not isinstance(one, int | float):
            raise Invalid(f"{name}: expected a number; got {names.shown(one)}")
    return found


def read_dials(texts: tuple[str, ...]) -> dict[str, Dial]:
    """Return dials written NAME=NUMBER; raise Invalid naming a bad one."""
    found: dict[str, Dial] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not equals or not name or not math.isfinite(value):
            raise Invalid(f"dial: expected NAME=NUMBER such as width=96; got {text!r}")
        found[name.strip()] = int(value) if value.is_integer() else value
    return found


def read_share(text: str) -> float:
    """Return a share from "96.5", "96.5%" or "0.965"; 0 for none. Raise Invalid for what is no share."""
    if not text:
        return 0.0
    try:
        found = float(text.removesuffix("%"))
    except ValueError:
        found = math.nan
    share = found / 100 if found > 1 or text.endswith("%") else found
    if not 0 < share < 1:
        raise Invalid(f"least: expected an accuracy such as 96.5 or 0.965; got {text!r}")
    return share
