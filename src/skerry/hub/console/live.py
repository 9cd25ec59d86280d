"""What changed, pushed to every open page: one poll of the hub a second for all of them, named server-sent events.

An event carries no data but where the reader is now; the page asks again for what it shows. A stream ends when its
reader leaves, and within a second of the hub being told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from skerry.core.errors import QueueFull, SkerryError
from skerry.hub.api.auth import person, rooms
from skerry.hub.rooms import Rooms
from skerry.hub.store.events import Notice

POLL = 1.0  # s between two looks at the hub, however many pages are open
NODES = 5  # polls between two words about check-ins: a thousand nodes check in all the time
HEARTBEAT = 15  # polls after which something is said in any case, below the 30 to 60 s of proxies
RETRY = 2000  # ms a browser waits before it comes back
MAX_STREAMS = 500  # open pages; each holds a socket
AFTER = 30.0  # s that one more is asked to wait
_CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,18})", re.ASCII)


def cursor(at: Notice) -> str:
    """Return where a reader is, as the id of an event."""
    return f"{at.result}-{at.alarm}-{at.event}"


def since(text: str) -> Notice | None:
    """Return what a cursor says, or None if it is none."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        return None
    result, alarm, event = map(int, found.groups())
    return Notice(result, alarm, event, seen=0.0)


def changed(old: Notice, new: Notice) -> Iterator[str]:
    """Yield the names of the events that tell of the difference."""
    if new.result != old.result:
        yield "results"
    if new.alarm != old.alarm:
        yield "alarms"
    if new.event != old.event:  # the trail tells of nodes, versions and rollouts alike
        yield from ("nodes", "rollouts")


class Live:
    """The one poll of a process, and its readers. Lives in the event loop; no lock is needed."""

    def __init__(self) -> None:
        self._readers = 0
        self._polls = 0
        self._newest: Notice | None = None
        self._tick = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    async def stream(self, request: Request) -> StreamingResponse:
        """Answer with the stream; `Last-Event-ID`, or else `?since=`, says what the page has seen."""
        await run_in_threadpool(person, request)
        if self._readers >= MAX_STREAMS:
            raise QueueFull(f"{MAX_STREAMS} pages are open", after=AFTER)
        seen = since(request.headers.get("last-event-id") or request.query_params.get("since", ""))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx must not hold events back
        return StreamingResponse(self._lines(rooms(request), seen), 200, headers, "text/event-stream")

    async def _lines(self, at: Rooms, seen: Notice | None) -> AsyncIterator[str]:
        yield f"retry: {RETRY}\n\n"
        spoke = nodes = self._polls
        with self._reading(at):
            async for newest in self._looks(at):
                names = list(changed(seen or newest, newest))
                silent, told = self._polls - spoke >= HEARTBEAT, self._polls - nodes >= NODES
                if "nodes" not in names and ((told and seen and seen.seen != newest.seen) or silent):
                    names.append("nodes")  # also in silence: that a node has gone away is written by nobody
                if names:
                    spoke = self._polls
                    nodes = spoke if "nodes" in names else nodes
                    seen = newest
                    yield "".join(f"id: {cursor(newest)}\nevent: {name}\ndata: {cursor(newest)}\n\n" for name in names)
                seen = seen or newest

    async def _looks(self, at: Rooms) -> AsyncIterator[Notice]:
        while not at.stopping.is_set() and self._poller is not None and not self._poller.done():
            await self._tick.wait()
            if self._newest is not None:
                yield self._newest

    @contextlib.contextmanager
    def _reading(self, at: Rooms) -> Iterator[None]:
        self._readers += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(at))
        try:
            yield
        finally:
            self._readers -= 1
            if self._readers == 0 and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    async def _poll(self, at: Rooms) -> None:
        try:
            while not at.stopping.is_set():
                with contextlib.suppress(SkerryError):  # a database that is busy now answers at the next look
                    self._newest = await run_in_threadpool(at.events.notice)
                self._polls += 1
                self._wake()
                await asyncio.sleep(POLL)
        finally:
            self._wake()  # so that every reader sees that this is over

    def _wake(self) -> None:
        tick, self._tick = self._tick, asyncio.Event()
        tick.set()
