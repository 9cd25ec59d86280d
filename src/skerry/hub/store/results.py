"""Statements about results and alarms. Plain inserts of many rows: this is the busiest path of a hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, func, insert, select, update

from skerry.core.finding import Finding
from skerry.core.names import Digest, ModelName, NodeName
from skerry.hub.store.schema import alarms, journals, results
from skerry.hub.store.store import Page, Tx


@dataclass(frozen=True)
class ResultRow:
    """What one inference gave, as it is kept. `id` is the hub's and 0 until it is stored; `at` is the node's clock."""

    id: int
    node: NodeName
    epoch: str
    seq: int
    at: float
    received: float
    model: ModelName
    version: int
    digest: Digest
    source: str
    defective: bool
    findings: tuple[Finding, ...]
    width: int
    height: int
    millis: float
    picture: Digest | None


@dataclass(frozen=True)
class AlarmRow:
    """A rule that fired. `result` is the seq of its result in the same journal, `result_id` the hub's id of that."""

    id: int
    node: NodeName
    epoch: str
    seq: int
    at: float
    received: float
    rule: str
    model: ModelName
    result: int
    text: str
    picture: Digest | None
    result_id: int | None = None


@dataclass(frozen=True)
class Which:
    """Which results or alarms are asked for; None is any."""

    node: NodeName | None = None
    model: ModelName | None = None
    defective: bool | None = None


@dataclass(frozen=True)
class Counts:
    """How many came."""

    results: int
    alarms: int


def high(tx: Tx, node: NodeName, epoch: str) -> int:
    """Return up to where a journal is stored; 0 for one that is new."""
    at = journals.c
    return tx.execute(select(at.high).where(at.node == node, at.epoch == epoch)).scalar_one_or_none() or 0


def set_high(tx: Tx, node: NodeName, epoch: str, mark: int) -> None:
    """Keep up to where a journal is stored."""
    same = (journals.c.node == node) & (journals.c.epoch == epoch)
    if tx.execute(update(journals).where(same).values(high=mark)).rowcount == 0:
        tx.execute(insert(journals).values(node=node, epoch=epoch, high=mark))


def add(tx: Tx, found: Sequence[ResultRow], raised: Sequence[AlarmRow]) -> None:
    """Add results and alarms; their ids are given here."""
    if found:
        rows = [{**vars(row), "findings": json.dumps([f.json() for f in row.findings])} for row in found]
        tx.execute(insert(results), [_without(row, "id") for row in rows])
    if raised:
        tx.execute(insert(alarms), [_without(vars(row), "id", "result_id") for row in raised])


def listed(tx: Tx, which: Which, page: Page) -> tuple[ResultRow, ...]:
    """Return results."""
    query = select(results).where(*_filters(results, which))
    return tuple(_result(row) for row in tx.execute(page.of(query, results.c.id)))


def find(tx: Tx, number: int) -> ResultRow | None:
    """Return one result."""
    row = tx.execute(select(results).where(results.c.id == number)).one_or_none()
    return None if row is None else _result(row)


def alarms_listed(tx: Tx, which: Which, page: Page) -> tuple[AlarmRow, ...]:
    """Return alarms, each with the result that raised it, if that came."""
    same = (results.c.node == alarms.c.node) & (results.c.epoch == alarms.c.epoch) & (results.c.seq == alarms.c.result)
    picture = func.coalesce(alarms.c.picture, results.c.picture).label("any_picture")
    query = select(alarms, results.c.id.label("result_id"), picture).outerjoin(results, same)
    query = query.where(*_filters(alarms, which))
    return tuple(_alarm(row) for row in tx.execute(page.of(query, alarms.c.id)))


def count_since(tx: Tx, at: float) -> Counts:
    """Return how many results and alarms came since a time, without a walk through them all."""
    return Counts(_count_since(tx, results, at), _count_since(tx, alarms, at))


def _count_since(tx: Tx, table: Table, at: float) -> int:
    """Find the first id received since by halving: ids grow as time does, so some 25 look-ups answer for millions."""
    low, high = tx.execute(select(func.min(table.c.id), func.max(table.c.id))).one()
    if high is None:
        return 0
    newest, beyond = high, high + 1
    while low < beyond:
        middle = (low + beyond) // 2
        row = select(table.c.id, table.c.received).where(table.c.id >= middle).order_by(table.c.id).limit(1)
        number, received = tx.execute(row).one()
        low, beyond = (number + 1, beyond) if received < at else (low, middle)
    return int(newest + 1 - low)


def _filters(table: Table, which: Which) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in vars(which).items() if value is not None]


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _result(row: Row[Any]) -> ResultRow:
    values = dict(row._mapping)
    return ResultRow(**{**values, "findings": tuple(Finding.read(value) for value in json.loads(row.findings))})


def _alarm(row: Row[Any]) -> AlarmRow:
    values = dict(row._mapping)
    picture = values.pop("any_picture")
    return AlarmRow(**{**values, "picture": picture})
