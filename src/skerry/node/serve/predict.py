"""`POST /predict`: an image in, findings out. The one call that a camera's curl line needs."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.node.layers import Infer
from skerry.node.models import Ask, Models, Seen
from skerry.node.serve.body import read_image
from skerry.wire.answer import Answer


class Predict:
    """The endpoint."""

    def __init__(self, models: Models, infer: Infer, node: str) -> None:
        self._models = models
        self._infer = infer
        self._node = node

    async def post(self, request: Request) -> Response:
        """Query: model (the only one, if left out), version, source (the input's name in the results)."""
        asked = request.query_params.get("version")
        version = None if asked is None else names.version(asked)
        model = request.query_params.get("model") or self._models.default()
        self._models.live(model, version)  # a wrong name costs no upload
        image, source = await read_image(request)
        seen = await self._infer(Ask(model, version, image, source=source[: names.MAX_NAME]))
        return JSONResponse(replace(to_answer(seen), node=self._node).json())


def to_answer(seen: Seen) -> Answer:
    """Return what was seen as the answer that goes over the wire; raise Invalid if the model gives no findings."""
    if seen.sight is None or "classes" not in seen.arrays:
        raise Invalid(
            f"model {seen.manifest.name}: its steps end in tensors, not in findings; "
            f"ask /v2/models/{seen.manifest.name}/infer"
        )
    sight = seen.sight
    return Answer(
        model=seen.manifest.name,
        version=seen.manifest.version,
        digest=seen.digest,
        findings=sight.findings,
        width=sight.width,
        height=sight.height,
        millis=sight.millis,
        result=seen.result,
    )
