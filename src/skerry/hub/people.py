"""Who is calling, and what they may do. Tokens are random and stored as hashes; this file never logs one.

A person shows a token that the hub made. A node shows the secret that it made itself (wire.checkin.Enrol). A join
token lets a new node in. What is looked up is a hash, so the time of a look-up tells nothing of a token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from skerry.core.errors import NotAllowed, NotFound
from skerry.core.names import NodeName
from skerry.host.clock import Clock
from skerry.host.keys import new_token, token_hash
from skerry.hub.events import HUB, What, note
from skerry.hub.store import fleet
from skerry.hub.store import people as rows
from skerry.hub.store.people import JoinTokenRow, PersonRow
from skerry.hub.store.store import Store, Tx

ADMIN = "admin"  # the name of the first person, and the role that may do all


class Act(Enum):
    """What a person may be allowed to do."""

    READ = "read"
    CHANGE = "change"


MAY: dict[str, frozenset[Act]] = {ADMIN: frozenset(Act)}


class NotKnown(NotAllowed):
    """Nobody has these credentials, or none were shown."""


@dataclass(frozen=True)
class JoinToken:
    """A new join token; the token itself is shown this once."""

    row: JoinTokenRow
    token: str = field(repr=False)


def allowed(person: PersonRow, act: Act) -> PersonRow:
    """Return the person; raise NotAllowed if their role may not do this."""
    if act not in MAY.get(person.role, frozenset()):
        raise NotAllowed(f"{person.name} is {person.role}, which may not {act.value}")
    return person


class People:
    """The people, the join tokens, and whose token is whose."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def first_admin(self) -> str | None:
        """Return the token of a new admin if there is nobody yet, else None."""
        with self._store.write() as tx:
            return self._make_admin(tx) if rows.count(tx) == 0 else None

    def new_admin_token(self) -> str:
        """Return a new token for the admin; the old one is worth nothing from now on."""
        with self._store.write() as tx:
            return self._make_admin(tx)

    def who(self, token: str) -> PersonRow | NodeName:
        """Return the person or the node whose token this is; raise NotKnown if it is nobody's."""
        hashed = token_hash(token)
        with self._store.read() as tx:
            found = rows.by_token(tx, hashed) or fleet.by_token(tx, hashed)
        if found is None:
            raise NotKnown("this token is not known here")
        return found

    def new_join_token(self, who: str, seconds: float | None = None, uses: int | None = None) -> JoinToken:
        """Make a join token that ends after so many seconds and uses; None is never."""
        token, now = new_token(), self._clock.now()
        expires = None if seconds is None else now + seconds
        with self._store.write() as tx:
            row = rows.add_join_token(tx, token_hash(token), who, now, expires, uses)
            note(tx, now, who, What.JOIN_TOKEN_MADE, f"join-token:{row.id}", expires=expires, uses=uses)
        return JoinToken(row, token)

    def revoke_join_token(self, number: int, who: str) -> None:
        """End a join token; nodes that joined with it stay."""
        now = self._clock.now()
        with self._store.write() as tx:
            if not rows.revoke_join_token(tx, number, now):
                raise NotFound(f"join token {number}: there is none that stands")
            note(tx, now, who, What.JOIN_TOKEN_REVOKED, f"join-token:{number}")

    def join_tokens(self) -> tuple[JoinTokenRow, ...]:
        """Return all join tokens, newest first, without the tokens."""
        with self._store.read() as tx:
            return rows.join_tokens_listed(tx)

    def _make_admin(self, tx: Tx) -> str:
        token, now = new_token(), self._clock.now()
        rows.put(tx, ADMIN, ADMIN, token_hash(token), now)
        note(tx, now, HUB, What.ADMIN_TOKEN_MADE, f"person:{ADMIN}")
        return token


def spend_join_token(tx: Tx, token: str, now: float) -> int:
    """Take one use from a join token and return its id; raise NotAllowed if it lets nobody in."""
    number = rows.spend_join_token(tx, token_hash(token), now)
    if number is None:
        raise NotAllowed("this join token is not known, or is over, used up or revoked")
    return number
