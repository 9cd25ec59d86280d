"""The first tables. A migration is never edited once it was released; a change is a new file that revises this one.

The statements are written out: `store.schema` will move on, and this must not.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, those that others point to first."""
    _events()
    _join_tokens()
    _nodes()
    _people()
    _versions()
    _alarms()
    _journals()
    _results()
    _rollouts()
    _desired()
    _members()


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.String(length=256), nullable=False),
        sa.Column("what", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )


def _join_tokens() -> None:
    op.create_table(
        "join_tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("made", sa.Float(), nullable=False),
        sa.Column("made_by", sa.String(length=128), nullable=False),
        sa.Column("expires", sa.Float(), nullable=True),
        sa.Column("uses_left", sa.Integer(), nullable=True),
        sa.Column("revoked", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_join_tokens"),
        sa.UniqueConstraint("token_hash", name="uq_join_tokens_token_hash"),
        sqlite_autoincrement=True,
    )


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("group_name", sa.String(length=128), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("enrolled", sa.Float(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("backlog", sa.BigInteger(), nullable=False),
        sa.Column("reports", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_nodes"),
        sa.UniqueConstraint("token_hash", name="uq_nodes_token_hash"),
    )
    op.create_index("ix_nodes_group_name", "nodes", ["group_name"], unique=False)
    op.create_index("ix_nodes_last_seen", "nodes", ["last_seen"], unique=False)


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("made", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
        sa.UniqueConstraint("name", name="uq_people_name"),
        sa.UniqueConstraint("token_hash", name="uq_people_token_hash"),
        sqlite_autoincrement=True,
    )


def _versions() -> None:
    op.create_table(
        "versions",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("runtime", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("published", sa.Float(), nullable=False),
        sa.Column("published_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", name="pk_versions"),
        sa.UniqueConstraint("digest", name="uq_versions_digest"),
    )


def _alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", ID, nullable=False),
        sa.Column("node", sa.String(length=128), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("received", sa.Float(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("result", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("picture", sa.String(length=71), nullable=True),
        sa.ForeignKeyConstraint(["node"], ["nodes.name"], name="fk_alarms_node"),
        sa.PrimaryKeyConstraint("id", name="pk_alarms"),
        sa.UniqueConstraint("node", "epoch", "seq", name="uq_alarms_node_epoch_seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alarms_model_id", "alarms", ["model", "id"], unique=False)
    op.create_index("ix_alarms_node_id", "alarms", ["node", "id"], unique=False)


def _journals() -> None:
    op.create_table(
        "journals",
        sa.Column("node", sa.String(length=128), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("high", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.name"], name="fk_journals_node"),
        sa.PrimaryKeyConstraint("node", "epoch", name="pk_journals"),
    )


def _results() -> None:
    op.create_table(
        "results",
        sa.Column("id", ID, nullable=False),
        sa.Column("node", sa.String(length=128), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("received", sa.Float(), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("defective", sa.Boolean(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("millis", sa.Float(), nullable=False),
        sa.Column("picture", sa.String(length=71), nullable=True),
        sa.ForeignKeyConstraint(["node"], ["nodes.name"], name="fk_results_node"),
        sa.PrimaryKeyConstraint("id", name="pk_results"),
        sa.UniqueConstraint("node", "epoch", "seq", name="uq_results_node_epoch_seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_results_defective_id", "results", ["defective", "id"], unique=False)
    op.create_index("ix_results_model_id", "results", ["model", "id"], unique=False)
    op.create_index("ix_results_node_id", "results", ["node", "id"], unique=False)


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", ID, nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("node", sa.String(length=128), nullable=True),
        sa.Column("group_name", sa.String(length=128), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("made", sa.Float(), nullable=False),
        sa.Column("made_by", sa.String(length=128), nullable=False),
        sa.Column("ended", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["model", "version"], ["versions.model", "versions.version"], name="fk_rollouts_model_version"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_rollouts"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_rollouts_group_name_model", "rollouts", ["group_name", "model"], unique=False)


def _desired() -> None:
    op.create_table(
        "desired",
        sa.Column("node", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("rollout", ID, nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.name"], name="fk_desired_node"),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name="fk_desired_rollout"),
        sa.PrimaryKeyConstraint("node", "model", name="pk_desired"),
    )


def _members() -> None:
    op.create_table(
        "members",
        sa.Column("rollout", ID, autoincrement=False, nullable=False),
        sa.Column("node", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed", sa.Float(), nullable=False),
        sa.Column("previous_version", sa.BigInteger(), nullable=True),
        sa.Column("previous_digest", sa.String(length=71), nullable=True),
        sa.Column("previous_rollout", ID, nullable=True),
        sa.Column("superseded_by", ID, nullable=True),
        sa.ForeignKeyConstraint(["node"], ["nodes.name"], name="fk_members_node"),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name="fk_members_rollout"),
        sa.PrimaryKeyConstraint("rollout", "node", name="pk_members"),
    )
    op.create_index("ix_members_node_state", "members", ["node", "state"], unique=False)
    op.create_index("ix_members_rollout_state", "members", ["rollout", "state"], unique=False)
