"""The tables. Nothing else: statements stand in this folder's other files, changes in `migrations/`.

A change here needs a migration beside it; tests/hub/store/test_migrations.py compares the two. Times are Unix
seconds. Ids only ever grow and are never used twice, so "newer than id" is a safe question to poll.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# Every constraint has a name, so that a later migration can drop it on any database.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
ID = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up by itself only in an INTEGER
NAME = String(128)  # core.names.MAX_NAME
HASH = String(64)  # hexadecimal digits of a SHA-256
DIGEST = String(71)  # "sha256:" in front of them
WHO = String(256)  # a name with its kind in front: "node:dock-1"
WORD = String(32)  # a state, a role, a kind of event

people = Table(
    "people",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("name", NAME, nullable=False, unique=True),
    Column("role", WORD, nullable=False),
    Column("token_hash", HASH, nullable=False, unique=True),
    Column("made", Float, nullable=False),
    sqlite_autoincrement=True,
)

join_tokens = Table(
    "join_tokens",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("token_hash", HASH, nullable=False, unique=True),
    Column("made", Float, nullable=False),
    Column("made_by", NAME, nullable=False),
    Column("expires", Float),  # none: never
    Column("uses_left", Integer),  # none: any number
    Column("revoked", Float),
    sqlite_autoincrement=True,
)

nodes = Table(
    "nodes",
    METADATA,
    Column("name", NAME, primary_key=True),
    Column("group_name", NAME, nullable=False, index=True),
    Column("token_hash", HASH, nullable=False, unique=True),
    Column("enrolled", Float, nullable=False),
    Column("last_seen", Float, index=True),
    Column("url", Text, nullable=False),
    Column("backlog", BigInteger, nullable=False),
    Column("reports", Text, nullable=False),  # JSON: what the node last said of its models
    Column("facts", Text, nullable=False),  # JSON: shown, never decided on
)

versions = Table(
    "versions",
    METADATA,
    Column("model", NAME, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("manifest", Text, nullable=False),  # the bytes as they were published: they are what was signed
    Column("signature", Text, nullable=False),
    Column("runtime", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("published", Float, nullable=False),
    Column("published_by", NAME, nullable=False),
)

rollouts = Table(
    "rollouts",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("model", NAME, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("node", NAME),  # either a node
    Column("group_name", NAME),  # or a group
    Column("state", WORD, nullable=False),
    Column("made", Float, nullable=False),
    Column("made_by", NAME, nullable=False),
    Column("ended", Float),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
    Index("ix_rollouts_group_name_model", "group_name", "model"),
    sqlite_autoincrement=True,
)

members = Table(
    "members",
    METADATA,
    Column("rollout", ID, ForeignKey("rollouts.id"), primary_key=True, autoincrement=False),
    Column("node", NAME, ForeignKey("nodes.name"), primary_key=True),
    Column("state", WORD, nullable=False),
    Column("reason", Text, nullable=False),
    Column("changed", Float, nullable=False),
    Column("previous_version", BigInteger),  # what the node was to serve before: all three, or none
    Column("previous_digest", DIGEST),
    Column("previous_rollout", ID),
    Column("superseded_by", ID),  # the newer rollout that took this node over before it had answered
    Index("ix_members_node_state", "node", "state"),
    Index("ix_members_rollout_state", "rollout", "state"),
)

desired = Table(
    "desired",
    METADATA,
    Column("node", NAME, ForeignKey("nodes.name"), primary_key=True),
    Column("model", NAME, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("rollout", ID, ForeignKey("rollouts.id"), nullable=False),
)

journals = Table(
    "journals",
    METADATA,
    Column("node", NAME, ForeignKey("nodes.name"), primary_key=True),
    Column("epoch", String(64), primary_key=True),
    Column("high", BigInteger, nullable=False),  # every entry up to here is stored, or was lost before it came
)

results = Table(
    "results",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("node", NAME, ForeignKey("nodes.name"), nullable=False),
    Column("epoch", String(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", Float, nullable=False),  # by the node's clock
    Column("received", Float, nullable=False),  # by the hub's
    Column("model", NAME, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("source", Text, nullable=False),
    Column("defective", Boolean, nullable=False),
    Column("findings", Text, nullable=False),  # JSON
    Column("width", BigInteger, nullable=False),
    Column("height", BigInteger, nullable=False),
    Column("millis", Float, nullable=False),
    Column("picture", DIGEST),
    UniqueConstraint("node", "epoch", "seq"),
    Index("ix_results_node_id", "node", "id"),
    Index("ix_results_model_id", "model", "id"),
    Index("ix_results_defective_id", "defective", "id"),
    sqlite_autoincrement=True,
)

alarms = Table(
    "alarms",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("node", NAME, ForeignKey("nodes.name"), nullable=False),
    Column("epoch", String(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", Float, nullable=False),
    Column("received", Float, nullable=False),
    Column("rule", Text, nullable=False),
    Column("model", NAME, nullable=False),
    Column("result", BigInteger, nullable=False),  # seq of the result in the same journal
    Column("text", Text, nullable=False),
    Column("picture", DIGEST),
    UniqueConstraint("node", "epoch", "seq"),
    Index("ix_alarms_node_id", "node", "id"),
    Index("ix_alarms_model_id", "model", "id"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("at", Float, nullable=False),
    Column("who", WHO, nullable=False),
    Column("what", WORD, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),  # JSON
    sqlite_autoincrement=True,
)
