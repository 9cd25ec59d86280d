"""Statements about people and join tokens. Tokens come and go as hashes; the tokens themselves never get here."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Row, func, insert, or_, select, update

from skerry.hub.store.schema import join_tokens, people
from skerry.hub.store.store import Tx


@dataclass(frozen=True)
class PersonRow:
    """A person, and what they are."""

    name: str
    role: str


@dataclass(frozen=True)
class JoinTokenRow:
    """A join token without the token."""

    id: int
    made: float
    made_by: str
    expires: float | None
    uses_left: int | None
    revoked: float | None


def count(tx: Tx) -> int:
    """Return how many people there are."""
    return tx.execute(select(func.count()).select_from(people)).scalar_one()


def put(tx: Tx, name: str, role: str, token_hash: str, now: float) -> None:
    """Add a person, or give the one of this name a new token and role."""
    found = tx.execute(update(people).where(people.c.name == name).values(role=role, token_hash=token_hash))
    if found.rowcount == 0:
        tx.execute(insert(people).values(name=name, role=role, token_hash=token_hash, made=now))


def by_token(tx: Tx, token_hash: str) -> PersonRow | None:
    """Return whose token this is."""
    row = tx.execute(select(people.c.name, people.c.role).where(people.c.token_hash == token_hash)).one_or_none()
    return None if row is None else PersonRow(row.name, row.role)


def add_join_token(
    tx: Tx, token_hash: str, who: str, now: float, expires: float | None, uses: int | None
) -> JoinTokenRow:
    """Add a join token."""
    values = {"made": now, "made_by": who, "expires": expires, "uses_left": uses}
    done = tx.execute(insert(join_tokens).values(token_hash=token_hash, **values))
    (number,) = done.inserted_primary_key or (0,)
    return JoinTokenRow(number, now, who, expires, uses, None)


def spend_join_token(tx: Tx, token_hash: str, now: float) -> int | None:
    """Take one use from a join token and return its id; None if it is not known, over, used up or revoked."""
    at = join_tokens.c
    good = (
        (at.token_hash == token_hash)
        & at.revoked.is_(None)
        & or_(at.expires.is_(None), at.expires > now)
        & or_(at.uses_left.is_(None), at.uses_left > 0)
    )
    if tx.execute(update(join_tokens).where(good).values(uses_left=at.uses_left - 1)).rowcount == 0:
        return None
    return int(tx.execute(select(at.id).where(at.token_hash == token_hash)).scalar_one())


def revoke_join_token(tx: Tx, number: int, now: float) -> bool:
    """End a join token; False if there is none that stands."""
    at = join_tokens.c
    return tx.execute(update(join_tokens).where(at.id == number, at.revoked.is_(None)).values(revoked=now)).rowcount > 0


def join_tokens_listed(tx: Tx) -> tuple[JoinTokenRow, ...]:
    """Return all join tokens, newest first."""
    return tuple(_join_token(row) for row in tx.execute(select(join_tokens).order_by(join_tokens.c.id.desc())))


def _join_token(row: Row[tuple[object, ...]]) -> JoinTokenRow:
    return JoinTokenRow(row.id, row.made, row.made_by, row.expires, row.uses_left, row.revoked)
