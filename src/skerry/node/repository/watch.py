"""What to do when the disk has changed. Pure decisions; the loop that looks and loads is elsewhere.

A version that serves is taken away only when the operator has said so, by its policy, and all that the policy
asks for serves. What has merely vanished, or is being written again, goes on serving: a disk that is not mounted
must not stop a line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from skerry.node.repository.disk import GRACE
from skerry.node.repository.found import Found, Listing
from skerry.wire.config import Policy, Which

Held = Mapping[str, Collection[int]]
Note = tuple[str, int, str]


class Do(Enum):
    """What a change asks of the node."""

    LOAD = "load"  # beside what serves
    RELOAD = "reload"  # in place of the same version
    UNLOAD = "unload"
    NOTE = "note"  # nothing but a line in the log


@dataclass(frozen=True)
class Change:
    """One thing to do, in the order given; `why` is for the log."""

    do: Do
    found: Found
    why: str


def changes(serving: Listing, after: Listing, held: Held | None = None) -> tuple[Change, ...]:
    """Return what leads from what serves to what a look has found; `held` are versions that labels point at.

    Nothing is unloaded in the same step as something is loaded: ask again when that serves.
    """
    names = dict.fromkeys(one.name for one in (*after.found, *serving.found))
    found: list[Change] = []
    for name in names:
        found += _model_changes(serving.of(name), after.of(name), (held or {}).get(name, ()))
    return tuple(found)


class Watch:
    """What a poller keeps between two looks: what serves, what did not load, and what has been said already."""

    def __init__(self) -> None:
        self._serving: dict[tuple[str, int], Found] = {}
        self._bad: dict[tuple[str, int], tuple[str, str]] = {}  # the stamp, and why
        self._noted: dict[Note, float] = {}  # when it was first so
        self._said: set[Note] = set()

    @property
    def bad(self) -> Mapping[str, str]:
        """The stamps of what did not load, with the reason, for the next look."""
        return dict(self._bad.values())

    @property
    def serving(self) -> Listing:
        """What serves."""
        return Listing(tuple(self._serving.values()))

    @property
    def doubts(self) -> bool:
        """Whether there is something to note if it is still so after the grace period: look again."""
        return not self._noted.keys() <= self._said

    def decide(self, after: Listing, held: Held | None, now: float) -> tuple[Change, ...]:
        """Return what to do after a look at `now`, in Unix seconds.

        Each note is given once, until there is something else to say of it, and when it has been so for the grace
        period: a file that is replaced is not there for a moment.
        """
        found = changes(self.serving, after, held)
        notes = [_note(one) for one in found if one.do is Do.NOTE]
        self._noted = {note: self._noted.get(note, now) for note in notes}
        due = {note for note, since in self._noted.items() if abs(now - since) >= GRACE}
        fresh, self._said = due - self._said, self._said & self._noted.keys() | due
        return tuple(one for one in found if one.do is not Do.NOTE or _note(one) in fresh)

    def loaded(self, found: Found) -> None:
        """Remember that this serves."""
        self._serving[found.name, found.version] = found
        self._bad.pop((found.name, found.version), None)

    def failed(self, found: Found, why: str) -> None:
        """Remember that this did not load: its version is left alone until its files change."""
        self._bad[found.name, found.version] = found.stamp, why

    def unloaded(self, found: Found) -> None:
        """Remember that this serves no more."""
        self.forget(found.name, found.version)

    def forget(self, name: str, version: int) -> None:
        """Think of a version as one that does not serve: it will be loaded if it is wanted."""
        self._serving.pop((name, version), None)


def _note(change: Change) -> Note:
    return change.found.name, change.found.version, change.why


def _model_changes(serving: Iterable[Found], after: Iterable[Found], held: Collection[int]) -> list[Change]:
    old = {one.version: one for one in serving}
    new = {one.version: one for one in after}
    if not new:
        return [Change(Do.NOTE, one, "no longer there, or not whole; it goes on serving") for one in old.values()]
    policy = next(iter(new.values())).options.policy
    wanted = [new[version] for version in _wanted(policy, new, old)]
    fresh = [Change(Do.LOAD, one, _why(one, old)) for one in wanted if one.version not in old]
    again = [
        Change(Do.RELOAD, one, "its files or its options have changed")
        for one in wanted
        if one.version in old and _differs(old[one.version], one)
    ]
    gone = [one for version, one in old.items() if version not in new]
    if fresh or again:
        return fresh + again
    return [_leave(one, policy, new, held) for one in gone]


def _wanted(policy: Policy, new: Mapping[int, Found], old: Mapping[int, Found]) -> list[int]:
    """Return the versions that are there and asked for. One of the latest that has vanished still counts as there:

    a lower one does not take its place.
    """
    if policy.which is not Which.LATEST:
        return sorted(new)
    return [version for version in policy.chosen({*new, *old}) if version in new]


def _leave(one: Found, policy: Policy, new: Mapping[int, Found], held: Collection[int]) -> Change:
    if not _moved_on(one.version, policy, new):
        return Change(Do.NOTE, one, "no longer there, or not whole; it goes on serving")
    if one.version in held:
        return Change(Do.NOTE, one, "no longer asked for, but a label points at it; it goes on serving")
    return Change(Do.UNLOAD, one, f"version_policy asks for {', '.join(map(str, sorted(new)))}")


def _moved_on(version: int, policy: Policy, new: Mapping[int, Found]) -> bool:
    """Whether the policy, as it is now, would not have this version even if it were there."""
    if policy.which is Which.SPECIFIC:
        return version not in policy.versions
    return policy.which is Which.LATEST and sum(one > version for one in new) >= policy.count


def _why(one: Found, old: Mapping[int, Found]) -> str:
    if not old:
        return "a new model"
    return "a newer version" if one.version > max(old) else "another version"


def _differs(old: Found, new: Found) -> bool:
    """Whether the same version must be loaded again: its policy and labels of versions are not the worker's affair."""
    return (old.stamp, *_asked(old)) != (new.stamp, *_asked(new))


def _asked(found: Found) -> tuple[object, ...]:
    return found.path, found.runtime, found.labels, replace(found.options, policy=Policy())
