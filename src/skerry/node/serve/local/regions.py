"""Shared memory that clients have registered: what it is called, and who may use it. Workers copy, not this process.

Two ways in. By name (extension "system_shared_memory"), only where the settings say so: every client that can reach
the node could else have it read another program's memory. By passing a sealed memfd over the node's UNIX socket: the
node gives it a name that nobody can guess, and forgets it when the program that passed it hangs up.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from skerry.core.errors import Conflict, Invalid, NotAllowed, NotFound, SkerryError
from skerry.core.names import shown
from skerry.host.regions import Board, Place, check_size, open_named, sealed

MAX_REGIONS = 1024  # each is an open file here, and in the workers that were asked to use it
MAX_NAME = 256  # characters
MEMFD = "memfd"  # the key of a region that was passed


class Region(NamedTuple):
    """A region as clients see it."""

    name: str
    key: str
    offset: int  # bytes
    size: int  # bytes


@dataclass(frozen=True)
class _Held:
    key: str
    place: Place
    passed: bool  # over the UNIX socket


class Regions:
    """All regions of a node. Used from the event loop alone. `uids` are users whose named memory may be used."""

    def __init__(self, named: bool, uids: Collection[int] = ()) -> None:
        self.named = named
        self._uids = {os.geteuid(), *uids}
        self._held: dict[str, _Held] = {}
        self._board: Board | None = None  # made when somebody will read it

    @property
    def path(self) -> str:
        """Where workers read which regions there are."""
        if self._board is None:
            self._board = Board()
        return self._board.path

    def register(self, name: str, key: str, offset: int, size: int) -> None:
        """Register shared memory by its name; raise Conflict if the region is there already."""
        if not self.named:
            raise NotAllowed("this node takes no shared memory by name; see 'shared_memory' in its settings")
        self._check_new(name)
        self._add(name, _Held(key, Place(open_named(key, self._uids), offset, size), False))

    def adopt(self, name: str, fd: int, offset: int, size: int) -> str:
        """Register a sealed memfd, which is ours from now on; return the name that the region has got."""
        try:
            called = f"{name}-{secrets.token_hex(16)}"
            self._check_new(called)
            memory = sealed(fd)
        except SkerryError:
            os.close(fd)
            raise
        self._add(called, _Held(MEMFD, Place(memory, offset, size), True))
        return called

    def unregister(self, name: str = "") -> None:
        """Forget a region; "": all that were registered by name. One that is not there is no error."""
        gone = [name] if name else [one for one, held in self._held.items() if not held.passed]
        found = [self._held.pop(one) for one in gone if one in self._held]
        if found:
            self._tell()
            for one in found:
                one.place.memory.close()

    def status(self, name: str = "") -> list[Region]:
        """Return a region; "": all that were registered by name. Raises NotFound."""
        if name and name not in self._held:
            raise NotFound(f"Unable to find system shared memory region: {shown(name)}")
        wanted = [name] if name else [one for one, held in self._held.items() if not held.passed]
        return [self._region(one, self._held[one]) for one in sorted(wanted)]

    def close(self) -> None:
        """Let go of all."""
        for held in self._held.values():
            held.place.memory.close()
        self._held.clear()
        if self._board is not None:
            self._board.close()

    @staticmethod
    def _region(name: str, held: _Held) -> Region:
        return Region(name, held.key, held.place.offset, held.place.size)

    def _check_new(self, name: str) -> None:
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise Invalid(f"name: expected 1 to {MAX_NAME} printable characters; got {shown(name)}")
        if name in self._held:
            raise Conflict(f"shared memory region {shown(name)} already in manager")
        if len(self._held) >= MAX_REGIONS:
            raise Conflict(f"regions: {MAX_REGIONS} are registered, and more may not be; unregister some first")

    def _add(self, name: str, held: _Held) -> None:
        try:
            check_size(held.place)
            self._held[name] = held
            self._tell()
        except SkerryError:
            self._held.pop(name, None)
            held.place.memory.close()
            raise

    def _tell(self) -> None:
        if self._board is not None:
            self._board.write({name: held.place for name, held in self._held.items()})
