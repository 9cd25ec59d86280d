"""What happens between a worker's answer and the client: results of images go into the journal first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Future

from skerry.core.errors import SkerryError
from skerry.node.record.recorder import Recorder
from skerry.node.worker.order import NOTES
from skerry.node.worker.ticket import Answered, Ticket
from skerry.wire.results import MAX_PICTURE, Result

Then = Callable[[list[str] | BaseException], None]


class Recorded:
    """Puts each image's result into the journal. Pictures over the limit are left out."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __call__(self, ticket: Ticket, found: Answered, then: Then) -> None:
        """Record the notes of an answer; `then` gets their places in the journal once they are on disk, on the loop."""
        futures: list[Future[str]] = []
        try:
            for note in NOTES.decode(found.notes):
                picture = bytes(ticket.body) if note.picture is None else note.picture
                result = Result.read(json.loads(note.result))
                futures.append(self._recorder.record(result, picture if len(picture) <= MAX_PICTURE else b""))
        except SkerryError as error:
            then(error)
            return
        gathered = asyncio.gather(*map(asyncio.wrap_future, futures))
        gathered.add_done_callback(lambda done: then(done.exception() or done.result()))
