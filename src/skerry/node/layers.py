"""Layers around inference: each has the one signature `(Ask) -> Seen` and holds the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from skerry.node.models import Ask, Seen
from skerry.node.record.recorder import Recorder
from skerry.wire.results import MAX_PICTURE, Result

Infer = Callable[[Ask], Awaitable[Seen]]


def recorded(inner: Infer, recorder: Recorder) -> Infer:
    """Put each image's result into the journal, and answer once it is on disk. Pictures over the limit are left out."""

    async def infer(ask: Ask) -> Seen:
        seen = await inner(ask)
        if ask.image is None or seen.sight is None:
            return seen
        result = Result(
            model=seen.manifest.name,
            version=seen.manifest.version,
            digest=seen.digest,
            source=ask.source,
            findings=seen.sight.findings,
            width=seen.sight.width,
            height=seen.sight.height,
            millis=round(seen.sight.millis["total"], 3),
        )
        picture = ask.image if len(ask.image) <= MAX_PICTURE else b""
        place = await asyncio.wrap_future(recorder.record(result, picture))
        return replace(seen, result=place)

    return infer
