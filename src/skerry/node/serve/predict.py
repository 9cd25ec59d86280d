"""`POST /predict`: an image in, findings out. The one call that a camera's curl line needs."""

from __future__ import annotations

import json

from skerry.core import names
from skerry.node.layers import Recorded
from skerry.node.models import Models
from skerry.node.serve.cold import query_of
from skerry.node.serve.http.exchange import Exchange
from skerry.node.serve.inference import Target, reply
from skerry.node.serve.site import Parts
from skerry.node.worker.order import Op
from skerry.node.worker.ticket import Answered, Ticket


class Predict:
    """The endpoint, and what completes the answers of all that take images."""

    def __init__(self, models: Models, node: str, recorded: Recorded | None) -> None:
        self._models = models
        self._node = node
        self._recorded = recorded

    def target(self, exchange: Exchange, _: Parts) -> Target:
        """Query: model (the only one, if left out), version, source (the input's name in the results)."""
        query = query_of(exchange)
        asked = query.get("version")
        version = None if asked is None else names.version(asked)
        model = query.get("model", "")
        return Target(Op.PREDICT, model or self._models.default(), version, lasting=bool(model))

    def finish(self, exchange: Exchange, ticket: Ticket, found: Answered) -> bool:
        """Record what there is to record, and answer then; False: there is nothing to do."""
        if found.notes and self._recorded is not None:
            self._recorded(ticket, found, lambda places: self._recorded_at(exchange, ticket, found, places))
            return True
        if ticket.op != Op.PREDICT:
            return False
        self._answer(exchange, found, "")
        return True

    def _recorded_at(
        self, exchange: Exchange, ticket: Ticket, found: Answered, places: list[str] | BaseException
    ) -> None:
        if isinstance(places, BaseException):
            exchange.fail(places)
        elif ticket.op == Op.PREDICT:
            self._answer(exchange, found, places[0])
        else:
            reply(exchange, found)

    def _answer(self, exchange: Exchange, found: Answered, place: str) -> None:
        """Say which node answered and where the result lies, which the worker does not know."""
        exchange.answer(200, json.dumps({**json.loads(found.body), "node": self._node, "result": place}).encode())
