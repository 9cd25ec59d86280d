"""The door for memory: a UNIX socket over which programs of this machine pass memfds to be used as regions.

One line of JSON and one file descriptor in one message, {"name": "camera", "offset": 0, "byte_size": 6220800};
one line of JSON back, with the region's full name or with an error. A region lives as long as its connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket

from skerry.core.errors import Invalid, SkerryError
from skerry.core.fields import Fields, parse
from skerry.node.serve.local.regions import Regions

log = logging.getLogger(__name__)

MAX_LINE = 4096  # bytes
MAX_FDS = 8  # of one message; one is right, more are closed
MAX_GUESTS = 256  # connections; each may hold regions


class Door:
    """Everybody who passed memory, or is about to."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self._guests: set[Guest] = set()
        self._listener: socket.socket | None = None

    def start(self, listener: socket.socket) -> None:
        """Let programs in; on the event loop."""
        listener.setblocking(False)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._enter)

    def stop(self) -> None:
        """Let nobody in any more, and forget what was passed."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
        for guest in list(self._guests):
            guest.leave()

    def _enter(self) -> None:
        assert self._listener is not None
        try:
            line, _ = self._listener.accept()
        except OSError:  # it is gone already, or there are too many files open: the next one may come in
            return
        if len(self._guests) >= MAX_GUESTS:
            line.close()
            return
        Guest(line, self._regions, self._guests)


class Guest:
    """One program's connection."""

    def __init__(self, line: socket.socket, regions: Regions, guests: set[Guest]) -> None:
        self._line = line
        self._regions = regions
        self._guests = guests
        self._names: list[str] = []
        self._text = b""
        self._fds: list[int] = []  # that came with the line that is being read
        line.setblocking(False)
        guests.add(self)
        asyncio.get_running_loop().add_reader(line, self._read)

    def leave(self) -> None:
        """It hung up: what it passed is used no more."""
        asyncio.get_running_loop().remove_reader(self._line)
        self._guests.discard(self)
        self._line.close()
        self._drop_fds()
        for name in self._names:
            self._regions.unregister(name)

    def _read(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._line, MAX_LINE, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            self.leave()
            return
        self._fds += fds
        self._text += data
        while b"\n" in self._text:
            line, _, self._text = self._text.partition(b"\n")
            if not self._say(self._answer(line)):
                return
        if not data or len(self._text) > MAX_LINE or len(self._fds) > MAX_FDS:
            self.leave()

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            return self._register(line)
        except SkerryError as error:
            return {"error": str(error)}
        finally:
            self._drop_fds()

    def _register(self, line: bytes) -> dict[str, object]:
        asked = Fields(parse(line, "request", MAX_LINE), "")
        name, offset, size = asked.text("name"), asked.whole("offset", default=0), asked.whole("byte_size")
        if len(self._fds) != 1:
            raise Invalid(f"file descriptor: expected one with the line; got {len(self._fds)}")
        found = self._regions.adopt(name, self._fds.pop(), offset, size)
        self._names.append(found)
        return {"name": found, "offset": offset, "byte_size": size}

    def _say(self, value: dict[str, object]) -> bool:
        """Send an answer; whoever does not read its answers has to go."""
        data = json.dumps(value).encode() + b"\n"
        try:
            whole = self._line.send(data) == len(data)
        except OSError:
            whole = False
        if not whole:
            self.leave()
        return whole

    def _drop_fds(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
