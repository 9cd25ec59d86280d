"""TensorFlow Serving's REST API: predict and model status, with its rules and its error texts."""

from __future__ import annotations

import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from skerry.core import names
from skerry.core.errors import Invalid, NotFound, NotReady
from skerry.engine.arrays import to_tensor
from skerry.node.layers import Infer
from skerry.node.models import Ask, Live, Models
from skerry.node.serve.body import MAX_BODY, read_body
from skerry.node.serve.oip import image_tensors
from skerry.wire import tfs

_PREDICT = re.compile(r"(?P<model>[^/:]+)(?:/versions/(?P<version>\d+))?:predict", re.IGNORECASE)
_STATUS = re.compile(r"(?P<model>[^/:]+)(?:/versions/(?P<version>\d+))?", re.IGNORECASE)
MAX_DIGITS = 19  # of a version that fits an int64; Python refuses to read thousands of digits
MAX_IMAGES = 64  # images of one request; each waits its turn in the model's queue


class TensorFlowServing:
    """The endpoints of the API. Names of models are matched as they are, the rest of a path in any case."""

    def __init__(self, models: Models, infer: Infer) -> None:
        self._models = models
        self._infer = infer

    async def post(self, request: Request) -> Response:
        """`/v1/models/M[/versions/N]:predict`."""
        match = _PREDICT.fullmatch(request.path_params["rest"])
        if match is None:
            raise Invalid(f"Malformed request: POST {request.url.path}")
        name, version = match["model"], _version(match["version"])
        live = self._live(name, version)
        body = await run_in_threadpool(tfs.parse_body, await read_body(request), MAX_BODY)
        images = tfs.images(body) if live.worker.session.takes_images else None
        if images is not None:
            return Response(await self._images(name, version, images), media_type="application/json")
        asked = await run_in_threadpool(tfs.decode_predict, body, live.worker.session.inputs)
        seen = await self._infer(Ask(name, version, tensors=asked.inputs))
        tensors = [to_tensor(output, array) for output, array in seen.arrays.items()]
        return Response(tfs.encode_predict(tensors, asked.row), media_type="application/json")

    async def get(self, request: Request) -> Response:
        """`/v1/models/M[/versions/N]`: the state of the model's versions."""
        rest = request.path_params.get("rest", "")
        if not rest:
            raise Invalid("Missing model name in request.")
        match = _STATUS.fullmatch(rest)
        if match is None:
            raise Invalid(f"Malformed request: GET {request.url.path}")
        name, version = match["model"], _version(match["version"])
        try:
            live = self._models.live(name, version)
        except NotReady as error:
            failed = bool(self._models.reason(name))
            state = ("END", "INTERNAL") if failed else ("LOADING", "UNAVAILABLE")
            return JSONResponse(tfs.status([(version or 1, *state, str(error))]))
        except NotFound:
            which = f"version {version}" if version is not None else "any versions"
            raise NotFound(f"Could not find {which} of model {name}") from None
        return JSONResponse(tfs.status([(live.manifest.version, "AVAILABLE", "OK", "")]))

    def _live(self, name: str, version: int | None) -> Live:
        try:
            return self._models.live(name, version)
        except NotFound:
            which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise NotFound(f"Servable not found for request: {which}") from None

    async def _images(self, name: str, version: int | None, images: list[bytes]) -> bytes:
        if len(images) > MAX_IMAGES:
            raise Invalid(f"instances: expected at most {MAX_IMAGES} images; got {len(images)}")
        rows = []
        for image in images:  # one after the other: all at once would fill the queue against themselves
            seen = await self._infer(Ask(name, version, image))
            row: dict[str, Any] = {}
            for tensor in image_tensors(seen):
                row |= tfs.row_value(tensor)
            rows.append(row)
        return tfs.encode_rows(rows)


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    if len(text.lstrip("0")) > MAX_DIGITS or int(text) > names.MAX_VERSION:
        raise Invalid(f"Failed to convert version: {text} to numeric.")
    return int(text)
