"""Run by Alembic for each migration; `store.migrate` hands it the open connection, so all is one transaction."""

from __future__ import annotations

from alembic import context

from skerry.hub.store.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite cannot alter a column; Alembic then copies the table
)
with context.begin_transaction():
    context.run_migrations()
