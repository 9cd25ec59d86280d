"""The hub put together: the only place where its objects meet. It wires, and decides nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from skerry.host.blobs import INCOMING, Blobs
from skerry.host.clock import Clock
from skerry.host.files import Disk, lock
from skerry.host.keys import read_trust
from skerry.host.process import listen, split_address, url_of
from skerry.hub.api.server import run
from skerry.hub.api.web import Page, Web, web
from skerry.hub.events import Events
from skerry.hub.fleet import Fleet
from skerry.hub.people import People
from skerry.hub.registry import Registry
from skerry.hub.results import Results
from skerry.hub.rollouts import Rollouts
from skerry.hub.rooms import Rooms
from skerry.hub.settings import HubSettings
from skerry.hub.store.store import Store, sqlite

Ready = Callable[[str, str | None], None]  # (URL, the admin token at the very first start) -> print them


@dataclass(frozen=True)
class Hub:
    """A hub that is built: its rooms, the ASGI application, and the admin token if it was made just now."""

    rooms: Rooms
    store: Store
    asgi: Web
    admin_token: str | None

    def close(self) -> None:
        """Let go of the database."""
        self.store.close()


def build(
    settings: HubSettings, clock: Clock | None = None, disk: Disk | None = None, pages: Sequence[Page] = ()
) -> Hub:
    """Open or make the hub that lies in `settings.state`; `pages` are the console's routes."""
    clock, disk = clock or Clock(), disk or Disk()
    disk.folder(settings.state, mode=0o700)  # results and hashes are nobody else's business
    disk.remove(settings.state / "blobs" / INCOMING)  # what a hub that was killed had begun to take
    store, blobs = Store(sqlite(settings.state / "hub.db")), Blobs(settings.state / "blobs", disk)
    rooms = Rooms(
        settings=settings,
        clock=clock,
        blobs=blobs,
        people=People(store, clock),
        registry=Registry(store, blobs, read_trust(settings.trust), clock),
        fleet=Fleet(store, clock, settings.check_in),
        rollouts=Rollouts(store, clock),
        results=Results(store, blobs, clock, settings.max_picture),
        events=Events(store),
        stopping=threading.Event(),
    )
    return Hub(rooms, store, web(rooms, pages), rooms.people.first_admin())


def serve(settings: HubSettings, ready: Ready, pages: Sequence[Page] = ()) -> None:
    """Be a hub until SIGTERM or SIGINT, then end cleanly; call from the main thread.

    The port is taken before anything is made, so a busy port (a Conflict) never eats the first admin token.
    """
    with contextlib.closing(listen(*split_address(settings.http))) as listening, _open(settings, pages) as hub:
        ready(url_of(listening), hub.admin_token)
        run(hub.asgi, listening, hub.rooms.stopping)


@contextlib.contextmanager
def _open(settings: HubSettings, pages: Sequence[Page]) -> Iterator[Hub]:
    Disk().folder(settings.state, mode=0o700)
    with lock(settings.state / "lock"), contextlib.closing(build(settings, pages=pages)) as hub:
        yield hub
