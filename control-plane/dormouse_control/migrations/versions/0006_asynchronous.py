"""Asynchronous requests, their bodies, and webhooks about them; headers of repeated answers."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TIME = sa.DateTime(timezone=True)


def _choice(table: str, column: str, *values: str) -> sa.Enum:
    name = op.f(f"ck_{table}_{column}")
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    _requests()
    _bodies()
    _webhooks()
    op.add_column("stored_reply", sa.Column("headers", sa.JSON(), nullable=True))


def _requests() -> None:
    status = _choice(
        "async_request",
        "status",
        *("queued", "running", "completed", "failed", "cancelled", "expired"),
    )
    op.create_table(
        "async_request",
        sa.Column("id", sa.String(30), nullable=False),
        sa.Column("user_id", sa.String(30), nullable=False),
        sa.Column("credential", sa.String(30), nullable=False),
        sa.Column("address", sa.String(45), nullable=True),
        sa.Column("call_id", sa.String(36), nullable=False),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("path", sa.String(64), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("status", status, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("interruptions", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("deadline_at", TIME, nullable=False),
        sa.Column("next_at", TIME, nullable=False),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("refusal", sa.JSON(), nullable=True),
        sa.Column("asked_bytes", sa.Integer(), nullable=False),
        sa.Column("answered_bytes", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_async_request_user_id_user")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_async_request")),
    )
    for columns in (
        ("user_id", "id"),
        ("status", "next_at"),
        ("status", "lease_until"),
        ("ended_at",),
    ):
        name = op.f(f"ix_async_request_{'_'.join(columns)}")
        op.create_index(name, "async_request", list(columns))


def _bodies() -> None:
    op.create_table(
        "async_body",
        sa.Column("request_id", sa.String(30), nullable=False),
        sa.Column("part", _choice("async_body", "part", "asked", "answered"), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["async_request.id"],
            name=op.f("fk_async_body_request_id_async_request"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("request_id", "part", name=op.f("pk_async_body")),
    )


def _webhooks() -> None:
    op.create_table(
        "webhook_secret",
        sa.Column("user_id", sa.String(30), nullable=False),
        sa.Column("secret_sealed", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("previous_sealed", sa.Text(), nullable=True),
        sa.Column("previous_until", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_webhook_secret_user_id_user")
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_webhook_secret")),
    )
    states = ("pending", "waiting", "delivered", "given_up")
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.String(30), nullable=False),
        sa.Column("request_id", sa.String(30), nullable=False),
        sa.Column("user_id", sa.String(30), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("state", _choice("webhook_delivery", "state", *states), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", TIME, nullable=True),
        sa.Column("due_from", TIME, nullable=True),
        sa.Column("reply", sa.Integer(), nullable=True),
        sa.Column("problem", sa.String(200), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["async_request.id"],
            name=op.f("fk_webhook_delivery_request_id_async_request"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_webhook_delivery_user_id_user")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_delivery")),
        sa.UniqueConstraint("request_id", name=op.f("uq_webhook_delivery_request_id")),
    )
    for column in ("user_id", "next_at"):
        op.create_index(op.f(f"ix_webhook_delivery_{column}"), "webhook_delivery", [column])
