"""A person's side of the hub's API: publish, roll out, list. Used by the commands and by `skerry up`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skerry.core.errors import Invalid
from skerry.core.manifest import MANIFEST, MAX_MANIFEST, SIGNATURE, read_manifest
from skerry.core.names import Digest
from skerry.core.trust import MAX_SIGNATURES
from skerry.host.files import read
from skerry.link.http import Fetcher, bearer, check
from skerry.wire.registry import Publish, RollOut
from skerry.wire.routes import JOIN_TOKEN, PUBLISH, PUT_BLOB, ROLL_OUT, Route

SECONDS = 60.0  # for one answer; a large blob is hashed and synced before it comes
MAX_REPLY = 64 << 20  # bytes of a list


class Operator:
    """A hub, called as one person."""

    def __init__(self, hub: str, token: str, fetcher: Fetcher | None = None) -> None:
        self._hub = hub.rstrip("/")
        self._token = token
        self._fetcher = fetcher or Fetcher()

    def publish(self, folder: Path, progress: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
        """Put a signed bundle's files and then its manifest on the hub; the same again is harmless.

        `progress(size)` is called after each file.
        """
        manifest_text, signature = read(folder / MANIFEST, MAX_MANIFEST), read(folder / SIGNATURE, MAX_SIGNATURES)
        if manifest_text is None:
            raise Invalid(f"bundle {folder}: no {MANIFEST} in it")
        if signature is None:
            raise Invalid(f"bundle {folder}: not signed; sign it with: skerry bundle sign {folder} --key publisher.key")
        manifest = read_manifest(manifest_text)
        for path, entry in manifest.files.items():
            self._put(entry.sha256, (folder / path).read_bytes())
            progress(entry.size)
        order = Publish(manifest_text.decode(), signature.decode())
        return self.ask(PUBLISH, order.json(), model=manifest.name)

    def roll_out(self, order: RollOut) -> dict[str, Any]:
        """Start a rollout."""
        return self.ask(ROLL_OUT, order.json())

    def join_token(self, hours: float | None = None, uses: int | None = None) -> str:
        """Return a new join token for nodes, good for so long and so many of them."""
        limits = {"seconds": hours * 3600 if hours is not None else None, "uses": uses}
        return str(self.ask(JOIN_TOKEN, {k: v for k, v in limits.items() if v is not None})["token"])

    def ask(self, route: Route, value: object = None, *, query: str = "", **parts: object) -> dict[str, Any]:
        """Call one route of the API with a JSON value and return the JSON of its answer."""
        url = self._hub + route.at(**parts) + query
        headers = {"Content-Type": "application/json", **bearer(self._token)}
        body = b"" if value is None else json.dumps(value).encode()
        reply = self._fetcher.request(route.method, url, body=body, headers=headers, limit=MAX_REPLY, seconds=SECONDS)
        found: dict[str, Any] = check(reply, url).json()
        return found

    def _put(self, digest: Digest, data: bytes) -> None:
        url = self._hub + PUT_BLOB.at(digest=digest)
        headers = {"Content-Type": "application/octet-stream", **bearer(self._token)}
        check(self._fetcher.request("PUT", url, body=data, headers=headers, limit=MAX_REPLY, seconds=SECONDS), url)
