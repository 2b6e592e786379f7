"""Budgets with thresholds, limits on tokens and concurrent calls, tags of keys."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TIME = sa.DateTime(timezone=True)
MAIL = ("verify_email", "registered", "reset_password", "invitation", "changed", "budget")


def _choice(table: str, column: str, *values: str) -> sa.Enum:
    name = op.f(f"ck_{table}_{column}")
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    _budgets()
    for column in ("tokens_per_minute", "concurrent_calls", "queued_calls", "max_body_mb"):
        op.add_column("tier", sa.Column(column, sa.Integer(), nullable=True))
    for column in ("tokens_per_minute", "concurrent_calls"):
        op.add_column("api_key", sa.Column(column, sa.Integer(), nullable=True))
    op.add_column("api_key", sa.Column("tags", sa.JSON(), nullable=True))
    _mail()


def _budgets() -> None:
    op.create_table(
        "budget",
        sa.Column("id", sa.String(length=30), nullable=False),
        sa.Column("subject", _choice("budget", "subject", "user", "key", "group"), nullable=False),
        sa.Column("subject_id", sa.String(length=30), nullable=False),
        sa.Column("period", _choice("budget", "period", "day", "month", "total"), nullable=False),
        sa.Column("limit_nano", sa.BigInteger(), nullable=False),
        sa.Column("thresholds", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(length=30), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by"], ["user.id"], name=op.f("fk_budget_created_by_user")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget")),
        sa.UniqueConstraint("subject_id", "period", name=op.f("uq_budget_subject_id_period")),
    )
    actions = _choice("budget_notice", "action", "notify", "lower_priority", "refuse_gpu", "refuse")
    op.create_table(
        "budget_notice",
        sa.Column("budget", sa.String(length=40), nullable=False),
        sa.Column("begins", TIME, nullable=False),
        sa.Column("threshold_nano", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("action", actions, nullable=False),
        sa.PrimaryKeyConstraint(
            "budget", "begins", "threshold_nano", "action", name=op.f("pk_budget_notice")
        ),
    )


def _mail() -> None:
    """One more kind of mail, which says more about what it is about."""
    check = op.f("ck_mail_kind")
    kinds = sa.text(f"kind IN ({', '.join(repr(kind) for kind in MAIL)})")
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("mail", "about", type_=sa.String(300), existing_nullable=True)
        op.drop_constraint(check, "mail", type_="check")
        op.create_check_constraint(check, "mail", kinds)
        return
    with op.batch_alter_table("mail", recreate="always") as batch:
        batch.alter_column("about", type_=sa.String(300), existing_nullable=True)
        batch.drop_constraint(check, type_="check")
        batch.create_check_constraint(check, kinds)
