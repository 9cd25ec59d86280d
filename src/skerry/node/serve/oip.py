"""The Open Inference Protocol (V2) over REST, as JSON and as binary tensors, and images on the same URL."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from skerry.core import names
from skerry.core.errors import Invalid
from skerry.core.names import shown
from skerry.core.tensor import DType, Tensor
from skerry.core.version import VERSION
from skerry.engine.arrays import to_tensor
from skerry.node.layers import Infer
from skerry.node.models import Ask, Live, Models, Seen
from skerry.node.serve.body import IMAGES, MAX_BODY, MULTIPART, content_type, read_body, read_image
from skerry.wire import oip

EXTENSIONS = ["binary_tensor_data", "classification"]
MAX_DIGITS = 12  # of a header's length
PLATFORMS = {"onnx": "onnxruntime_onnx"}  # runtime -> the name that Triton's clients know


class OpenInference:
    """The endpoints of the protocol."""

    def __init__(self, models: Models, infer: Infer) -> None:
        self._models = models
        self._infer = infer

    async def server(self, _: Request) -> Response:
        """Server metadata. Only extensions that are whole are listed."""
        return JSONResponse({"name": "skerry", "version": VERSION, "extensions": EXTENSIONS})

    async def live(self, _: Request) -> Response:
        """The process answers."""
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        """Every model that should serve has passed its goldens."""
        troubles = self._models.troubles()
        if troubles:
            return JSONResponse({"ready": False, "error": told(troubles)}, 503, {"Retry-After": "1"})
        return JSONResponse({"ready": True})

    async def metadata(self, request: Request) -> Response:
        """A model's versions, inputs and outputs."""
        live = self._models.live(request.path_params["model"], _version(request))
        session = live.worker.session
        return JSONResponse(
            {
                "name": live.manifest.name,
                "versions": [str(live.manifest.version)],
                "platform": PLATFORMS.get(live.manifest.runtime.name, live.manifest.runtime.name),
                "inputs": [oip.spec_json(spec) for spec in session.inputs],
                "outputs": [oip.spec_json(spec) for spec in session.outputs],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """Whether one model serves; NotFound or NotReady if not."""
        name = request.path_params["model"]
        self._models.live(name, _version(request))
        return JSONResponse({"name": name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """Run a model: JSON tensors, or an image for a model whose steps begin with decoding one."""
        name, version = request.path_params["model"], _version(request)
        live = self._models.live(name, version)
        kind = content_type(request)
        if kind in IMAGES or kind == MULTIPART:
            if not live.worker.session.takes_images:
                raise Invalid(f"model {name} takes tensors, not {kind}; its inputs are at /v2/models/{name}")
            image, source = await read_image(request)
            seen = await self._infer(Ask(name, version, image, source=source[: names.MAX_NAME]))
            return _respond(seen, oip.InferRequest(()))
        asked = await run_in_threadpool(self._asked, request, await read_body(request), live)
        known = {spec.name for spec in live.worker.session.outputs}
        for output in asked.outputs:
            if output.name not in known:
                raise Invalid(f"outputs: unknown output '{output.name}'; model {name} gives {', '.join(sorted(known))}")
        if len({output.name for output in asked.outputs}) != len(asked.outputs):
            raise Invalid("outputs: expected each name once")
        seen = await self._infer(Ask(name, version, tensors=asked.inputs))
        return _respond(seen, asked)

    def _asked(self, request: Request, body: bytes, live: Live) -> oip.InferRequest:
        length = request.headers.get(oip.HEADER_LENGTH)
        if length is None:
            return oip.decode_request(body, MAX_BODY)
        if not length.isascii() or not length.isdecimal() or len(length) > MAX_DIGITS:
            raise Invalid(f"{oip.HEADER_LENGTH}: expected a whole number; got {shown(length)}")
        if int(length):
            return oip.decode_request(body, MAX_BODY, int(length))
        inputs = live.worker.session.inputs
        if len(inputs) != 1:
            raise Invalid(f"raw binary request: expected a model of one input; {live.manifest.name} has {len(inputs)}")
        return oip.decode_raw(body, inputs[0])


def told(troubles: Mapping[str, str]) -> str:
    """Return what is missing as one line of text."""
    return "; ".join(f"{name}: {why}" if name else why for name, why in troubles.items())


def image_tensors(seen: Seen) -> list[Tensor]:
    """Return what an image gave as tensors: the arrays of the last step, and the classes' labels as text."""
    tensors = [to_tensor(name, array) for name, array in seen.arrays.items()]
    if seen.sight is not None and "classes" in seen.arrays:
        labels = tuple(finding.label.encode() for finding in seen.sight.findings)
        tensors.append(Tensor("labels", DType.BYTES, (len(labels),), labels))
    return tensors


def _respond(seen: Seen, asked: oip.InferRequest) -> Response:
    tensors = {tensor.name: tensor for tensor in image_tensors(seen)}
    wanted = asked.outputs or tuple(oip.Asked(name, asked.binary) for name in tensors)
    outputs = [_output(tensors[one.name], one, seen) for one in wanted]
    binary = {one.name for one in wanted if one.binary}
    manifest = seen.manifest
    body, length = oip.encode_response(manifest.name, manifest.version, asked.id, outputs, binary)
    if length is None:
        return Response(body, media_type="application/json")
    return Response(body, headers={oip.HEADER_LENGTH: str(length)}, media_type="application/octet-stream")


def _output(tensor: Tensor, asked: oip.Asked, seen: Seen) -> Tensor:
    if not asked.classes:
        return tensor
    if tensor.dtype in (DType.BYTES, DType.BOOL):
        raise Invalid(f"output '{tensor.name}': classification wants numbers; got {tensor.dtype.value}")
    return oip.classify(tensor, asked.classes, seen.manifest.labels)


def _version(request: Request) -> int | None:
    text = request.path_params.get("version")
    return None if text is None else names.version(text)
