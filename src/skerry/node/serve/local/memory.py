"""The extensions "system_shared_memory" and "cuda_shared_memory" over REST. There is no CUDA memory here."""

from __future__ import annotations

from skerry.core.errors import Unsupported
from skerry.core.fields import Fields, parse
from skerry.node.serve.cold import MAX_BODY, Request, Response, as_json
from skerry.node.serve.local.regions import Regions
from skerry.node.serve.site import Route

SYSTEM, CUDA = "/v2/systemsharedmemory", "/v2/cudasharedmemory"
NO_CUDA = "cuda shared memory: this node runs models on the processor; register system shared memory instead"


class Memory:
    """The endpoints."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions

    def routes(self) -> list[Route]:
        """Return where they are."""
        one = "/region/{region}"
        return [
            Route("GET", SYSTEM + "/status", self.status),
            Route("GET", SYSTEM + one + "/status", self.status),
            Route("POST", SYSTEM + one + "/register", self.register),
            Route("POST", SYSTEM + one + "/unregister", self.unregister),
            Route("POST", SYSTEM + "/unregister", self.unregister),
            Route("GET", CUDA + "/status", self.nothing),
            Route("GET", CUDA + one + "/status", self.no_cuda),
            Route("POST", CUDA + one + "/register", self.no_cuda),
            Route("POST", CUDA + one + "/unregister", self.done),
            Route("POST", CUDA + "/unregister", self.done),
        ]

    def status(self, request: Request) -> Response:
        """One region, or all that were registered by name."""
        found = self._regions.status(request.parts.get("region", ""))
        rows = [{"name": one.name, "key": one.key, "offset": one.offset, "byte_size": one.size} for one in found]
        return as_json(rows)

    def register(self, request: Request) -> Response:
        """Register shared memory by its name. Body: {"key": "/frames", "offset": 0, "byte_size": 6220800}."""
        asked = Fields(parse(request.body, "request", MAX_BODY), "")
        key, offset, size = asked.text("key"), asked.whole("offset", default=0), asked.whole("byte_size")
        self._regions.register(request.parts["region"], key, offset, size)
        return as_json({})

    def unregister(self, request: Request) -> Response:
        """Forget one region, or all that were registered by name."""
        self._regions.unregister(request.parts.get("region", ""))
        return as_json({})

    def nothing(self, _: Request) -> Response:
        """There are no CUDA regions."""
        return as_json([])

    def done(self, _: Request) -> Response:
        """There is nothing to forget."""
        return as_json({})

    def no_cuda(self, _: Request) -> Response:
        """Refuse by name."""
        raise Unsupported(NO_CUDA)
