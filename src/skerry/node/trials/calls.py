"""GET, POST and DELETE /v2/models/M/trial: how a trial stands, begin or promote one, end one."""

from __future__ import annotations

from skerry.core.agreement import Terms
from skerry.core.errors import Conflict, NotFound
from skerry.core.fields import Fields, parse
from skerry.node.models import Models
from skerry.node.serve.admin import Admin
from skerry.node.serve.cold import Request, Response, as_json
from skerry.node.serve.site import Route
from skerry.node.trials.trials import check

PATH = "/v2/models/{model}/trial"
MAX_BODY = 4096  # bytes


class TrialCalls:
    """The endpoint. Who may load and unload models may try them too."""

    def __init__(self, models: Models, admin: Admin) -> None:
        self._models = models
        self._admin = admin

    def routes(self) -> list[Route]:
        """Return where it is."""
        return [Route("GET", PATH, self.get), Route("POST", PATH, self.post), Route("DELETE", PATH, self.delete)]

    def get(self, request: Request) -> Response:
        """How the last trial of a model stands; NotFound if there was none."""
        return as_json(self._models.trials.of(request.parts["model"]).json())

    def post(self, request: Request) -> Response:
        """Begin a trial of {"version": 4, "mode": "canary", "share": 0.1}, or promote: {"promote": true}."""
        self._admin.check_controlled()
        name = request.parts["model"]
        asked = parse(request.body, "request", MAX_BODY)
        fields = Fields(asked, "")
        if fields.flag("promote", default=False):
            return as_json(self._models.trials.promote(name).json())
        terms = Terms.read({key: value for key, value in asked.items() if key != "promote"})
        serving = self._models.generations(name)
        if not serving:
            raise NotFound(f"unknown model: {name}")
        check(name, serving)
        versions = [one.manifest.version for one in serving]
        if terms.version not in versions:
            here = ", ".join(map(str, versions))
            raise NotFound(f"unknown version: {terms.version} of model {name}; this node serves {here}")
        if len(versions) == 1:
            raise Conflict(f"model {name}: version {terms.version} is the only one that serves; a trial needs two")
        return as_json(self._models.trials.begin(name, terms).json())

    def delete(self, request: Request) -> Response:
        """End a trial: the candidate answers who names it alone."""
        self._admin.check_controlled()
        return as_json(self._models.trials.end(request.parts["model"]).json())
