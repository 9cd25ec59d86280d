"""Slots: which installed bundle each model has on this node's disk: provisional, committed, previous.

One small file, replaced whole. `provisional` is written before a bundle is tried, so a node that dies while
trying one knows it; only a bundle whose goldens passed becomes committed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.fields import Fields, parse
from skerry.core.names import Digest, ModelName
from skerry.core.plan import Wanted
from skerry.host.files import Disk, read

MAX_SLOTS = 4 << 20  # bytes of the file; one model takes about 500
MAX_TRIES = 3  # times that a node may die while trying one bundle, before it refuses it
MAX_REFUSED = 100  # refusals remembered; each is told to the hub until the model is served in another version


@dataclass(frozen=True)
class Installed:
    """A bundle on disk and the rollout that brought it."""

    digest: Digest
    version: int
    rollout: int


@dataclass(frozen=True)
class Slot:
    """One model's bundles. `tries` counts how often the provisional one was begun to be tried."""

    committed: Installed | None = None
    previous: Installed | None = None
    provisional: Installed | None = None
    tries: int = 0


@dataclass(frozen=True)
class Refused:
    """A bundle that this node will not serve for that rollout, and why."""

    model: ModelName
    bundle: Installed
    reason: str


@dataclass(frozen=True)
class Table:
    """Everything in the file."""

    slots: dict[ModelName, Slot] = field(default_factory=dict)
    refused: tuple[Refused, ...] = ()


class Slots:
    """The file, and the moves that are allowed on it. Each move is durable when it returns."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Read the file; raise Invalid if it is damaged (it is replaced whole, so only a bad disk does that)."""
        self._path = path
        self._disk = disk
        data = read(path, MAX_SLOTS)
        self.table = Table() if data is None else _read(parse(data, str(path), MAX_SLOTS))

    def begin(self, want: Wanted) -> int:
        """Make a bundle provisional before it is tried; return how often that was begun, this time included."""
        slot = self.table.slots.get(want.model, Slot())
        bundle = Installed(want.digest, want.version, want.rollout)
        tries = slot.tries + 1 if slot.provisional == bundle else 1
        self._set(want.model, replace(slot, provisional=bundle, tries=tries))
        return tries

    def survived(self, model: ModelName) -> None:
        """A try ended without an answer, but this node lives: it does not count as a death."""
        slot = self.table.slots[model]
        self._set(model, replace(slot, tries=max(0, slot.tries - 1)))

    def commit(self, model: ModelName) -> None:
        """Make the provisional bundle the committed one, and the committed one the previous; old refusals are over."""
        slot = self.table.slots[model]
        assert slot.provisional is not None
        same = slot.committed is not None and slot.committed.digest == slot.provisional.digest
        slots = {**self.table.slots, model: Slot(slot.provisional, slot.previous if same else slot.committed)}
        self._save(Table(slots, tuple(r for r in self.table.refused if r.model != model)))

    def refuse(self, want: Wanted, reason: str) -> None:
        """Remember that a bundle will not be served for its rollout; nothing of it stays provisional."""
        refusal = Refused(want.model, Installed(want.digest, want.version, want.rollout), reason)
        others = tuple(r for r in self.table.refused if (r.model, r.bundle) != (refusal.model, refusal.bundle))
        slot = self.table.slots.get(want.model, Slot())
        slots = {**self.table.slots, want.model: replace(slot, provisional=None, tries=0)}
        self._save(Table(slots, (*others, refusal)[-MAX_REFUSED:]))

    def fall_back(self, model: ModelName) -> None:
        """The committed bundle turned out damaged: the previous one takes its place."""
        slot = self.table.slots[model]
        self._set(model, replace(slot, committed=slot.previous, previous=None))

    def drop(self, model: ModelName) -> None:
        """Forget a model that is no longer wanted."""
        self._save(Table({m: s for m, s in self.table.slots.items() if m != model}, self.table.refused))

    def kept(self) -> set[Digest]:
        """Return the digests that some slot names, which must stay on disk."""
        slots = self.table.slots.values()
        return {b.digest for s in slots for b in (s.committed, s.previous, s.provisional) if b is not None}

    def _set(self, model: ModelName, slot: Slot) -> None:
        self._save(Table({**self.table.slots, model: slot}, self.table.refused))

    def _save(self, table: Table) -> None:
        models = {m: {**{k: _bundle_json(getattr(s, k)) for k in _KINDS}, "tries": s.tries}
                  for m, s in table.slots.items()}  # fmt: skip
        refused = [{"model": r.model, "bundle": _bundle_json(r.bundle), "reason": r.reason} for r in table.refused]
        self._disk.write(self._path, json.dumps({"models": models, "refused": refused}, indent=1).encode())
        self.table = table


_KINDS = ("committed", "previous", "provisional")


def _bundle_json(bundle: Installed | None) -> dict[str, Any] | None:
    return None if bundle is None else {"digest": bundle.digest, "version": bundle.version, "rollout": bundle.rollout}


def _read(value: object) -> Table:
    fields = Fields(value, "slots")
    slots = {}
    for name, entry in Fields(fields.raw("models"), "models").rest().items():
        one = Fields(entry, name)
        found = {kind: one.read(kind, _bundle, default=None) for kind in _KINDS}
        slots[names.model_name(name)] = Slot(**found, tries=one.whole("tries"))
    return Table(slots, fields.many("refused", _refused))


def _refused(value: object) -> Refused:
    fields = Fields(value, "")
    bundle = fields.read("bundle", _bundle)
    if bundle is None:
        raise Invalid("bundle: expected one")
    return Refused(fields.read("model", names.model_name), bundle, fields.text("reason"))


def _bundle(value: object) -> Installed | None:
    if value is None:
        return None
    fields = Fields(value, "")
    return Installed(
        fields.read("digest", names.digest), fields.read("version", names.version), fields.whole("rollout")
    )
