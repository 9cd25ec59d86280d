"""A hub as a process of its own: `python hub_process.py STATE HOST:PORT`. Prints one ready line of JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from skerry.hub.app import serve
from skerry.hub.settings import HubSettings


def _ready(url: str, admin: str | None) -> None:
    print(json.dumps({"url": url, "admin": admin}), flush=True)


serve(HubSettings(http=sys.argv[2], state=Path(sys.argv[1])), _ready)
