"""Statements about models and their versions. A version is added once and never changed."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, insert, select, update

from skerry.core.names import Digest, ModelName
from skerry.hub.store.schema import versions
from skerry.hub.store.store import Tx


@dataclass(frozen=True)
class VersionRow:
    """One version of a model: the bundle it points to, and when it came."""

    model: ModelName
    version: int
    digest: Digest
    runtime: str
    size: int  # bytes of all its files
    published: float
    published_by: str


@dataclass(frozen=True)
class Signed:
    """A manifest and its signatures, byte for byte as they were published (UTF-8)."""

    manifest: str = field(repr=False)
    signature: str = field(repr=False)


_AT = versions.c
_SHORT = (_AT.model, _AT.version, _AT.digest, _AT.runtime, _AT.size, _AT.published, _AT.published_by)


def add(tx: Tx, row: VersionRow, signed: Signed) -> None:
    """Add a version."""
    tx.execute(insert(versions).values(**vars(row), **vars(signed)))


def find(tx: Tx, model: ModelName, version: int) -> VersionRow | None:
    """Return a version."""
    return next(iter(_rows(tx, (_AT.model == model) & (_AT.version == version))), None)


def listed(tx: Tx, model: ModelName | None = None) -> tuple[VersionRow, ...]:
    """Return all versions, or those of one model: by name, newest version first."""
    return _rows(tx, None if model is None else _AT.model == model)


def signed(tx: Tx, digest: Digest) -> Signed | None:
    """Return the manifest and the signatures of a bundle."""
    row = tx.execute(select(_AT.manifest, _AT.signature).where(_AT.digest == digest)).one_or_none()
    return None if row is None else Signed(row.manifest, row.signature)


def set_signature(tx: Tx, digest: Digest, signature: str) -> None:
    """Replace the signatures of a bundle."""
    tx.execute(update(versions).where(_AT.digest == digest).values(signature=signature))


def _rows(tx: Tx, where: ColumnElement[bool] | None) -> tuple[VersionRow, ...]:
    query = select(*_SHORT).order_by(_AT.model, _AT.version.desc())
    return tuple(VersionRow(*row) for row in tx.execute(query if where is None else query.where(where)))
