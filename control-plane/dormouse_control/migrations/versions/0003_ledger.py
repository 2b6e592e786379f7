"""The ledger, what it adds up to, and the leases of limits and budgets.

Every call that was booked so far becomes a charge. Nothing changes an entry of the ledger, which
the database sees to itself.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TIME = sa.DateTime(timezone=True)
# SQLite counts only columns of exactly this type.
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
APPEND_ONLY = ("ledger_entry", "price_list")


def _choice(table: str, column: str, *values: str) -> sa.Enum:
    name = op.f(f"ck_{table}_{column}")
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    _usage()
    _ledger()
    _rates()
    _leases()
    _book_so_far()
    for table in APPEND_ONLY:
        _refuse_changes(table)


def _usage() -> None:
    for name in ("compute_ms", "gpus", "audio_ms", "images", "loads"):
        column = sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
        op.add_column("usage_entry", column)
    op.add_column("usage_entry", sa.Column("lease_id", sa.String(64), nullable=True))
    op.add_column("usage_entry", sa.Column("predictor", sa.String(64), nullable=True))
    op.add_column(
        "usage_entry",
        sa.Column("estimated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column("usage_entry", sa.Column("tags", sa.JSON(), nullable=True))
    op.add_column("usage_entry", sa.Column("idle_ms", sa.BigInteger(), nullable=True))
    op.add_column("usage_entry", sa.Column("prices_id", sa.String(16), nullable=True))
    op.create_index(op.f("ix_usage_entry_predictor_id"), "usage_entry", ["predictor", "id"])


def _ledger() -> None:
    op.create_table(
        "ledger_entry",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column(
            "kind", _choice("ledger_entry", "kind", "reserve", "charge", "release"), nullable=False
        ),
        sa.Column("key", sa.String(140), nullable=False),
        sa.Column("lease_id", sa.String(30), nullable=True),
        sa.Column("request_id", sa.String(128), nullable=True),
        sa.Column("user_id", sa.String(30), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=True),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_entry")),
        sa.UniqueConstraint("key", name=op.f("uq_ledger_entry_key")),
    )
    op.create_table(
        "spending",
        sa.Column("subject_id", sa.String(30), nullable=False),
        sa.Column("period", _choice("spending", "period", "day", "month", "total"), nullable=False),
        sa.Column("begins", TIME, nullable=False),
        sa.Column("subject", sa.String(8), nullable=False),
        sa.Column("nano", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "period", "begins", name=op.f("pk_spending")),
    )
    op.create_table(
        "price_list",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("prices", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_list")),
    )


def _rates() -> None:
    op.create_table(
        "lease_clock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease_clock")),
    )
    op.create_table(
        "lease_holder",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("heard_at", TIME, nullable=False),
        sa.Column("sent", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease_holder")),
    )
    op.create_index(op.f("ix_lease_holder_heard_at"), "lease_holder", ["heard_at"])
    op.create_table(
        "rate_bucket",
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("level", sa.Double(), nullable=False),
        sa.Column("capacity", sa.Double(), nullable=False),
        sa.Column("filled_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rate_bucket")),
    )
    op.create_index(op.f("ix_rate_bucket_filled_at"), "rate_bucket", ["filled_at"])
    op.create_table(
        "rate_piece",
        sa.Column("bucket", sa.String(128), nullable=False),
        sa.Column("holder", sa.String(16), nullable=False),
        sa.Column("held", sa.Double(), nullable=False),
        sa.Column("heard_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["bucket"],
            ["rate_bucket.id"],
            name=op.f("fk_rate_piece_bucket_rate_bucket"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("bucket", "holder", name=op.f("pk_rate_piece")),
    )
    op.create_table(
        "slot_piece",
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("holder", sa.String(16), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("heard_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("subject", "holder", name=op.f("pk_slot_piece")),
    )
    op.create_index(op.f("ix_slot_piece_heard_at"), "slot_piece", ["heard_at"])


def _leases() -> None:
    op.create_table(
        "lease",
        sa.Column("id", sa.String(30), nullable=False),
        sa.Column("holder", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(30), nullable=False),
        sa.Column("credential", sa.String(64), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("last_granted_nano", sa.BigInteger(), nullable=False),
        sa.Column("last_state", sa.String(16), nullable=False),
        sa.Column("last_others_nano", sa.BigInteger(), nullable=False),
        sa.Column("last_until", TIME, nullable=True),
        sa.Column("granted_nano", sa.BigInteger(), nullable=False),
        sa.Column("returned_nano", sa.BigInteger(), nullable=False),
        sa.Column("charged_nano", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease")),
    )
    living = sa.text("ended_at IS NULL")
    for column in ("user_id", "expires_at"):
        op.create_index(
            op.f(f"ix_lease_{column}_living"),
            "lease",
            [column],
            sqlite_where=living,
            postgresql_where=living,
        )


def _book_so_far() -> None:
    """A call counts when it ended, but never later than we heard of it."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    least = "min(time, received_at)" if sqlite else "least(time, received_at)"
    op.execute(
        "INSERT INTO ledger_entry (at, kind, key, request_id, user_id, amount_nano) "  # noqa: S608
        f"SELECT {least}, 'charge', 'charge:' || request_id, request_id, user_id, cost_nano "
        "FROM usage_entry ORDER BY id"
    )
    for subject, whose, only in (
        ("user", "user_id", "true"),
        ("key", "credential", "credential LIKE 'key\\_%' ESCAPE '\\'"),
    ):
        for period in ("day", "month"):
            op.execute(
                "INSERT INTO spending (subject_id, period, begins, subject, nano) "  # noqa: S608
                f"SELECT {whose}, '{period}', {_begin(period, least, sqlite=sqlite)}, '{subject}', "
                f"sum(cost_nano) FROM usage_entry WHERE cost_nano > 0 AND {only} "
                f"GROUP BY 1, 2, 3, 4"
            )


def _begin(period: str, time: str, *, sqlite: bool) -> str:
    if sqlite:
        return {
            "day": f"substr({time}, 1, 10) || ' 00:00:00.000000'",
            "month": f"substr({time}, 1, 7) || '-01 00:00:00.000000'",
        }[period]
    return f"date_trunc('{period}', {time} AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"


def _refuse_changes(table: str) -> None:
    why = f"{table} is only ever added to"
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{why}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{why}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
    )
