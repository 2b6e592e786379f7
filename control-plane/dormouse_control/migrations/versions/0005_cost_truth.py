"""Cost truth: how long predictors were there; and an index for exports of everybody's calls."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "awake_period",
        sa.Column("instance", sa.String(32), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("woke", TIME, nullable=False),
        sa.Column("ended", TIME, nullable=False),
        sa.Column("load_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("idle_ms", sa.BigInteger(), nullable=True),
        sa.Column("calls", sa.BigInteger(), nullable=True),
        sa.Column("computed_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_entry", sa.BigInteger(), nullable=True),
        sa.Column("shared_entry", sa.BigInteger(), nullable=False),
        sa.Column("shared_weight", sa.BigInteger(), nullable=False),
        sa.Column("shared_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("instance", name=op.f("pk_awake_period")),
    )
    op.create_index(op.f("ix_awake_period_shared_at"), "awake_period", ["shared_at"])
    op.create_index(op.f("ix_usage_entry_time_id"), "usage_entry", ["time", "id"])
