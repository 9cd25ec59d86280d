"""The other ways into a node, put together: the UNIX socket, shared memory, and the record of who came."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket

from skerry.host.clock import Clock
from skerry.host.local import doors
from skerry.node.serve.access import AccessLog
from skerry.node.serve.local.door import Door
from skerry.node.serve.local.regions import Regions
from skerry.node.serve.site import Site
from skerry.node.settings import NAMED, NodeSettings


class Gates:
    """What the settings ask for; `undo` closes it."""

    def __init__(self, settings: NodeSettings, clock: Clock, undo: contextlib.ExitStack) -> None:
        """Raise Conflict for a path that is taken or cannot be written."""
        named = settings.shared_memory == NAMED
        self.regions = undo.enter_context(contextlib.closing(Regions(named, settings.shared_memory_users)))
        self.board = self.regions.path if settings.shares else ""  # what workers read
        self.access = AccessLog(settings.access_log, clock) if settings.access_log else None
        self._listeners: list[socket.socket] = undo.enter_context(doors(settings.local))
        self._door = Door(self.regions)

    async def start(self, site: Site, listener: socket.socket) -> None:
        """Open all, and the site with them; SIGHUP has the access log begin a new file."""
        if self.access is not None:
            site.access = self.access
            self.access.start()
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.access.reopen)
        await site.start(listener, *self._listeners[:1])
        for one in self._listeners[1:]:
            self._door.start(one)

    async def stop(self) -> None:
        """Close all but the site, whose last requests are written down."""
        self._door.stop()
        if self.access is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.access.stop)
