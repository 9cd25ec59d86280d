"""The device SDK: ask a node what it sees in an image. Light: no numpy, imports in under 100 ms.

client = skerry.Client("http://127.0.0.1:8441")
answer = client.infer("pcb", "board.png")
for finding in answer.findings:
    print(finding.label, finding.score, finding.box)
"""

from __future__ import annotations

import random
import time
from os import PathLike
from pathlib import Path
from urllib.parse import quote, urlencode

from skerry.core.errors import BrokenReply, BusyError, Invalid, TooLarge, Unreachable
from skerry.core.retry import Backoff
from skerry.link.http import Fetcher, check
from skerry.wire.answer import Answer
from skerry.wire.routes import PREDICT

MAX_IMAGE = 64 << 20  # bytes; what a node takes at most
MAX_ANSWER = 16 << 20  # bytes of an answer's JSON; 1,000 findings take 100 KB


class Client:
    """A connection to one node. Safe to use from several threads; keep one and reuse it."""

    def __init__(self, url: str, *, seconds: float = 10.0, tries: int = 3, fetcher: Fetcher | None = None) -> None:
        """`seconds` bounds one try; a node that is busy or out of reach is asked up to `tries` times."""
        if not url.startswith(("http://", "https://")):
            raise Invalid(f"node URL: expected http://HOST:PORT; got {url!r}")
        self._url = url.rstrip("/")
        self._seconds = seconds
        self._tries = tries
        self._fetcher = fetcher or Fetcher()
        self._backoff = Backoff(first=0.1, most=2.0)  # s; a device would rather fail than wait

    def infer(self, model: str, image: bytes | str | PathLike[str], *, source: str = "") -> Answer:
        """Return what the model finds in a JPEG or PNG, given as bytes or as a path.

        `source` names the input in the results (default: the file's name). Raises RequestError if the
        node refuses the image or the model, BusyError or PeerError if it could not answer in `tries` tries.
        """
        if not isinstance(image, bytes):
            source = source or Path(image).name
            image = Path(image).read_bytes()
        if len(image) > MAX_IMAGE:
            raise TooLarge(f"image: expected at most {MAX_IMAGE} bytes; got {len(image)}")
        query = {"model": model} | ({"source": source} if source else {})
        url = f"{self._url}{PREDICT.path}?{urlencode(query, quote_via=quote)}"
        for failures in range(1, self._tries + 1):
            try:
                return self._ask(url, image)
            except (BusyError, Unreachable) as error:
                if failures == self._tries:
                    raise
                asked = error.after if isinstance(error, BusyError) else 0.0
                time.sleep(self._backoff.delay(failures, random.random(), min(asked, 2.0)))  # noqa: S311 (jitter)
        raise AssertionError("unreachable: the last try returns or raises")

    def _ask(self, url: str, image: bytes) -> Answer:
        kind = "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"
        reply = self._fetcher.request(
            PREDICT.method, url, body=image, headers={"Content-Type": kind}, limit=MAX_ANSWER, seconds=self._seconds
        )
        value = check(reply, url).json()
        try:
            return Answer.read(value)
        except Invalid as error:
            raise BrokenReply(f"{self._url}: {error}") from None
