"""What the web side of the hub may use: the domain objects, made once by `app.build`.

Handlers of the API and of the console find them as `request.app.state.rooms`. They know nothing of HTTP.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from skerry.host.blobs import Blobs
from skerry.host.clock import Clock
from skerry.hub.events import Events
from skerry.hub.fleet import Fleet
from skerry.hub.people import People
from skerry.hub.registry import Registry
from skerry.hub.results import Results
from skerry.hub.rollouts import Rollouts
from skerry.hub.settings import HubSettings


@dataclass(frozen=True)
class Rooms:
    """The rooms of a hub. `stopping` is set when it is told to stop, so that open streams can end."""

    settings: HubSettings
    clock: Clock
    blobs: Blobs
    people: People
    registry: Registry
    fleet: Fleet
    rollouts: Rollouts
    results: Results
    events: Events
    stopping: threading.Event
