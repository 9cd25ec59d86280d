"""From what a node says is true (report) to what the hub wants of it (desired): the ordered steps.

Pure: the agent asks `plan`, `node.apply` does the steps one by one, each of which can be repeated safely.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from skerry.core.names import Digest, ModelName


@dataclass(frozen=True)
class Wanted:
    """The version of one model that the hub wants a node to serve, and the rollout that asked for it."""

    model: ModelName
    version: int
    digest: Digest
    rollout: int


class Do(Enum):
    """What one step of a plan does."""

    FETCH = "fetch"  # bring the bundle's files, verified, onto this disk
    TRY = "try"  # load it beside the old one, run its goldens, and only then serve and commit it
    DROP = "drop"  # stop serving a model that is no longer wanted
    FORGET = "forget"  # delete an installed bundle that no slot names


@dataclass(frozen=True)
class PlanStep:
    """One step; `model` is None for FORGET, `wanted` is there for FETCH and TRY."""

    do: Do
    digest: Digest
    model: ModelName | None = None
    wanted: Wanted | None = None


@dataclass(frozen=True)
class Held:
    """What a node holds: the committed digest of each model, digests on disk, digests that must stay, refusals."""

    committed: Mapping[ModelName, Digest]
    installed: Collection[Digest]
    kept: Collection[Digest]
    refused: Collection[tuple[Digest, int]]  # (digest, rollout): a refusal is final for that rollout


def plan(desired: Collection[Wanted], held: Held) -> tuple[PlanStep, ...]:
    """Return the steps from what is held to what is desired; empty when nothing is left to do.

    Fetches come before tries (the network may go), drops after them, deletions last.
    """
    fetches, tries, drops = [], [], []
    for want in sorted(desired, key=lambda w: w.model):
        if held.committed.get(want.model) == want.digest or (want.digest, want.rollout) in held.refused:
            continue
        if want.digest not in held.installed:
            fetches.append(PlanStep(Do.FETCH, want.digest, want.model, want))
        tries.append(PlanStep(Do.TRY, want.digest, want.model, want))
    wanted = {want.model for want in desired}
    for model, digest in sorted(held.committed.items()):
        if model not in wanted:
            drops.append(PlanStep(Do.DROP, digest, model))
    serving = {digest for model, digest in held.committed.items() if model in wanted}  # a try may yet be refused
    needed = {want.digest for want in desired} | serving | set(held.kept)
    forgets = [PlanStep(Do.FORGET, digest) for digest in sorted(set(held.installed) - needed)]
    return (*fetches, *tries, *drops, *forgets)
