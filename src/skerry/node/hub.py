"""The hub as a node sees it: every call that a node makes to it, with its limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skerry.core.errors import BrokenReply, Invalid
from skerry.core.names import Digest
from skerry.link.http import Fetcher, bearer, check, post_json
from skerry.wire import checkin
from skerry.wire.checkin import CheckIn, Enrol, Orders
from skerry.wire.results import Ack, Batch, encode
from skerry.wire.routes import BLOB, CHECK_IN, ENROL, UPLOAD, Route

SECONDS = 15.0  # for a small question and its answer
UPLOAD_SECONDS = 60.0  # for one batch of about 4 MiB
STALL_SECONDS = 30.0  # without a byte, after which a download counts as broken
MAX_ACK = 64 << 10  # bytes


class Hub:
    """One hub, called as one node."""

    def __init__(self, fetcher: Fetcher, url: str, enrol: Enrol) -> None:
        self._fetcher = fetcher
        self._url = url.rstrip("/")
        self._enrol = enrol

    def join(self) -> None:
        """Enrol; the same again is harmless."""
        self._post(ENROL, self._enrol.json(), token="")

    def check_in(self, report: CheckIn) -> Orders:
        """Send the report and return the hub's orders."""
        found = self._post(CHECK_IN, report.json(), token=self._enrol.secret)
        with _sense(CHECK_IN.path):
            return Orders.read(found)

    def upload(self, batch: Batch) -> Ack:
        """Send journal entries; return the acknowledgement, which covers all of them."""
        url = self._url + UPLOAD.path
        headers = {"Content-Type": "application/octet-stream", **bearer(self._enrol.secret)}
        reply = self._fetcher.request(
            UPLOAD.method, url, body=encode(batch), headers=headers, limit=MAX_ACK, seconds=UPLOAD_SECONDS
        )
        found = check(reply, url).json()
        with _sense(url):
            ack = Ack.read(found)
        if ack.epoch != batch.epoch or ack.high < batch.entries[-1].seq:
            raise BrokenReply(f"{url}: acknowledged {ack}; sent up to {batch.entries[-1].seq} of {batch.epoch}")
        return ack

    def text(self, route: Route, digest: Digest, limit: int) -> bytes:
        """Return a bundle's manifest or signature."""
        url = self._url + route.at(digest=digest)
        reply = self._fetcher.request(
            "GET", url, headers=bearer(self._enrol.secret), limit=limit, seconds=STALL_SECONDS
        )
        with _sense(url):
            return check(reply, url).body

    def blob(self, digest: Digest, start: int, limit: int) -> Iterator[bytes]:
        """Yield a blob's bytes from `start`; more than `limit` in all is a BrokenReply."""
        url = self._url + BLOB.at(digest=digest)
        headers = bearer(self._enrol.secret)
        with _sense(url):
            yield from self._fetcher.download(url, start=start, limit=limit, seconds=STALL_SECONDS, headers=headers)

    def _post(self, route: Route, value: object, token: str) -> Any:
        url = self._url + route.path
        return post_json(self._fetcher, url, value, token=token, limit=checkin.MAX_BODY, seconds=SECONDS)


@contextmanager
def _sense(url: str) -> Iterator[None]:
    """An answer that makes no sense is the peer's fault: never a reason to refuse a bundle or to set results aside."""
    try:
        yield
    except Invalid as error:
        raise BrokenReply(f"{url}: {error}") from error
