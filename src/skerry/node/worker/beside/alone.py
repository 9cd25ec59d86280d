"""Answers without a worker: what the control process imports when it opens a lane, and not before."""

from __future__ import annotations

from skerry.engine.session import Session
from skerry.host.clock import Clock
from skerry.node.worker.answer import Answers
from skerry.node.worker.order import Order
from skerry.node.worker.work import load, warm


def open_answers(order: Order) -> tuple[Answers, Session]:
    """Return answers with a session of an order's model, proved again here; raise what loading raises."""
    clock = Clock()
    session, _ = load(order.planned(1, 1, gentle=False), clock)
    warm(session, clock)
    return Answers(session, clock, record=False), session
