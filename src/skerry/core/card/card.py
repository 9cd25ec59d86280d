"""The card as a whole: data, recipe, passes with their effects, target, gates, and what was not executed here.

`Card.read` is the one place where a card's JSON becomes typed; `Card.json` writes it back with every field that this
version does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skerry.core import names
from skerry.core.card.effect import MOST_COUNT, Accuracy, Effect, Extra
from skerry.core.errors import Invalid
from skerry.core.fields import Fields, canonical, parse, string
from skerry.core.gate import Verdict
from skerry.core.names import Digest, shown

SCHEMA = 1
CARD = "card.json"  # the card's name inside a bundle
MAX_CARD = 4 << 20  # bytes; a card of 1,000 passes is under 2 MB
MOST_PASSES = 1000  # a search writes one card for each point, so a card holds tens
MOST_FACTS = 1000  # of recipe options, tools or facts of a target
SEED_HIGH = 2**63 - 1


@dataclass(frozen=True)
class DataUse:
    """One data set as it was used: which part of it, for what, and the digest of its manifest."""

    name: str
    use: str  # "train", "calibration", "test", …
    files: int
    manifest: Digest
    split: str = ""  # how the part was chosen
    licence: str = ""
    extra: Extra = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        told = {"name": self.name, "use": self.use, "files": self.files, "manifest": self.manifest}
        return {**self.extra, **told, "split": self.split, "licence": self.licence}

    @staticmethod
    def read(value: object) -> DataUse:
        """Return it from a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return DataUse(
            name=fields.text("name"),
            use=fields.text("use"),
            files=fields.whole("files", high=MOST_COUNT),
            manifest=fields.read("manifest", names.digest),
            split=fields.text("split", default=""),
            licence=fields.text("licence", default=""),
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class Parity:
    """How far a model lies from the one it was brought in from, in that one's own framework."""

    against: str
    greatest: float
    mean: float
    inputs: int
    tolerance: float
    extra: Extra = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        told = {"against": self.against, "greatest": self.greatest, "mean": self.mean}
        return {**self.extra, **told, "inputs": self.inputs, "tolerance": self.tolerance}

    @staticmethod
    def read(value: object) -> Parity:
        """Return it from a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Parity(
            against=fields.text("against"),
            greatest=fields.real("greatest", low=0.0),
            mean=fields.real("mean", low=0.0),
            inputs=fields.whole("inputs", high=MOST_COUNT),
            tolerance=fields.real("tolerance", low=0.0),
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class Pass:
    """One pass over the model: what it was like before and after, whether it was kept or rolled back, and why."""

    name: str
    kept: bool
    why: str
    before: Effect
    after: Effect
    options: Extra = field(default_factory=dict)
    seconds: float | None = None
    extra: Extra = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        told = {"name": self.name, "kept": self.kept, "why": self.why, "options": dict(self.options)}
        took = {} if self.seconds is None else {"seconds": self.seconds}
        return {**self.extra, **told, **took, "before": self.before.json(), "after": self.after.json()}

    @staticmethod
    def read(value: object) -> Pass:
        """Return it from a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Pass(
            name=fields.text("name"),
            kept=fields.flag("kept"),
            why=fields.text("why", default=""),
            before=fields.read("before", Effect.read),
            after=fields.read("after", Effect.read),
            options=fields.read("options", _open, default={}),
            seconds=fields.real("seconds", default=None, low=0.0),
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class NotRun:
    """A file that was made for a target which is not here: nobody has executed it."""

    target: str
    file: str
    why: str
    extra: Extra = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**self.extra, "target": self.target, "file": self.file, "why": self.why}

    @staticmethod
    def read(value: object) -> NotRun:
        """Return it from a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        target, file, why = fields.text("target"), fields.text("file", default=""), fields.text("why", default="")
        return NotRun(target, file, why, fields.rest())


@dataclass(frozen=True)
class Target:
    """Where it was measured: a name as "cpu-2", and what is known of it (processors, architecture, runtime)."""

    name: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    extra: Extra = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**self.extra, "name": self.name, "facts": dict(self.facts)}

    @staticmethod
    def read(value: object) -> Target:
        """Return it from a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "")
        return Target(fields.text("name"), fields.read("facts", _texts, default={}), fields.rest())


@dataclass(frozen=True, kw_only=True)
class Card:
    """A whole card. `measured` is the bundle as it is; `scores` are others of it: on other data, by other rules."""

    measured: Effect = field(default_factory=Effect)
    scores: tuple[Accuracy, ...] = ()
    data: tuple[DataUse, ...] = ()
    recipe: str = ""
    options: Extra = field(default_factory=dict)  # of the recipe
    seeds: Mapping[str, int] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)  # name -> version
    parity: tuple[Parity, ...] = ()
    passes: tuple[Pass, ...] = ()
    target: Target = field(default_factory=Target)
    gates: tuple[Verdict, ...] = ()
    not_executed: tuple[NotRun, ...] = ()
    notes: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict)

    @property
    def proven(self) -> bool:
        """Whether there are gates and all of them pass."""
        return bool(self.gates) and all(verdict.passed for verdict in self.gates)

    def json(self) -> dict[str, Any]:
        """Return the card as JSON values, unknown fields included."""
        return {
            **self.extra,
            "schema": SCHEMA,
            "measured": self.measured.json(),
            "scores": [one.json() for one in self.scores],
            "data": [one.json() for one in self.data],
            "recipe": self.recipe,
            "options": dict(self.options),
            "seeds": dict(self.seeds),
            "tools": dict(self.tools),
            "parity": [one.json() for one in self.parity],
            "passes": [one.json() for one in self.passes],
            "target": self.target.json(),
            "gates": [one.json() for one in self.gates],
            "not_executed": [one.json() for one in self.not_executed],
            "notes": list(self.notes),
        }

    @property
    def bytes(self) -> bytes:
        """The bytes of the card's file: the same card gives the same bytes. Invalid if it holds NaN."""
        return canonical(self.json()) + b"\n"

    @staticmethod
    def read(value: object) -> Card:
        """Return the card in a JSON value; raise Invalid naming the field that is wrong."""
        fields = Fields(value, "card")
        schema = fields.whole("schema")
        if schema != SCHEMA:
            raise Invalid(f"card.schema: this version of Skerry reads {SCHEMA}; got {schema}")
        return Card(
            measured=fields.read("measured", Effect.read, default=Effect()),
            scores=fields.many("scores", Accuracy.read, default=(), limit=MOST_FACTS),
            data=fields.many("data", DataUse.read, default=(), limit=MOST_FACTS),
            recipe=fields.text("recipe", default=""),
            options=fields.read("options", _open, default={}),
            seeds=fields.read("seeds", _seeds, default={}),
            tools=fields.read("tools", _texts, default={}),
            parity=fields.many("parity", Parity.read, default=(), limit=MOST_FACTS),
            passes=fields.many("passes", Pass.read, default=(), limit=MOST_PASSES),
            target=fields.read("target", Target.read, default=Target()),
            gates=fields.many("gates", Verdict.read, default=(), limit=MOST_FACTS),
            not_executed=fields.many("not_executed", NotRun.read, default=(), limit=MOST_FACTS),
            notes=fields.many("notes", string, default=(), limit=MOST_FACTS),
            extra=fields.rest(),
        )


def read_card(data: bytes) -> Card:
    """Return the card in the bytes of a card.json."""
    return Card.read(parse(data, CARD, MAX_CARD))


def _open(value: object) -> dict[str, Any]:
    return Fields(value, "").rest()


def _few(value: object) -> dict[str, Any]:
    found = _open(value)
    if len(found) > MOST_FACTS:
        raise Invalid(f"expected at most {MOST_FACTS} fields; got {len(found)}")
    return found


def _texts(value: object) -> dict[str, str]:
    found = _few(value)
    return {name: Fields(found, "").text(name) for name in found}


def _seeds(value: object) -> dict[str, int]:
    found = _few(value)
    for name, seed in found.items():
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= SEED_HIGH:
            raise Invalid(f"{name}: expected a whole number from 0 to {SEED_HIGH}; got {shown(seed)}")
    return found
