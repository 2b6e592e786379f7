"""Accounts that hold: roles, tiers, groups, second factors, invitations, audit, mail, retries.

SQLite cannot change a column, so there some tables are made anew; `run.upgrade` has switched its
foreign keys off for that. There is no way back from here but a backup.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

revision = "0002"
down_revision = "0001"

TIME = sa.DateTime(timezone=True)
STATUSES = ("active", "unverified", "pending", "disabled", "erased")


def _choice(table: str, column: str, *values: str) -> sa.Enum:
    name = op.f(f"ck_{table}_{column}")
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    _new_tables()
    tier = "INSERT INTO tier (id, title, highest_priority, most_keys, created_at) VALUES "
    op.execute(tier + "('standard', 'Standard', 0, 100, CURRENT_TIMESTAMP)")
    _users()
    _sessions()
    _keys()
    _entitlements()
    _revocations()
    by_service = ["user_id", "service", "time"]
    op.create_index(op.f("ix_usage_entry_user_id_service_time"), "usage_entry", by_service)
    op.execute("INSERT INTO epoch (id, writes) VALUES (1, 0)")


def _users() -> None:
    op.add_column("user", sa.Column("role", sa.String(16), nullable=True))
    op.execute("UPDATE \"user\" SET role = 'user', tier = 'standard'")
    with _changing("user", status=STATUSES, role=("user", "operator", "administrator")) as batch:
        batch.alter_column("role", existing_type=sa.String(16), nullable=False)
        batch.alter_column("email", existing_type=sa.String(254), nullable=True)
        batch.alter_column("password_hash", existing_type=sa.String(255), nullable=True)
        batch.add_column(sa.Column("email_verified_at", TIME, nullable=True))
        batch.add_column(sa.Column("totp_sealed", sa.Text(), nullable=True))
        batch.add_column(sa.Column("totp_confirmed_at", TIME, nullable=True))
        batch.add_column(sa.Column("totp_last_step", sa.BigInteger(), nullable=True))
        batch.create_foreign_key(op.f("fk_user_tier_tier"), "tier", ["tier"], ["id"])


def _sessions() -> None:
    op.add_column("session", sa.Column("method", sa.String(64), nullable=True))
    op.add_column("session", sa.Column("second_factor", sa.Boolean(), nullable=True))
    op.add_column("session", sa.Column("address", sa.String(45), nullable=True))
    op.add_column("session", sa.Column("user_agent", sa.String(200), nullable=True))
    op.execute(sa.text("UPDATE session SET method = 'password', second_factor = false"))
    with op.batch_alter_table("session") as batch:
        batch.alter_column("method", existing_type=sa.String(64), nullable=False)
        batch.alter_column("second_factor", existing_type=sa.Boolean(), nullable=False)


def _keys() -> None:
    with _changing("api_key", budget_period=("day", "month", "total")) as batch:
        batch.add_column(sa.Column("expires_at", TIME, nullable=True))
        for limit in ("services", "models", "endpoints", "ip_ranges"):
            batch.add_column(sa.Column(limit, sa.JSON(), nullable=True))
        batch.add_column(sa.Column("requests_per_minute", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("budget_nano", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("budget_period", sa.String(16), nullable=True))


def _entitlements() -> None:
    with _changing("entitlement", status=("active", "pending", "refused")) as batch:
        batch.add_column(sa.Column("expires_at", TIME, nullable=True))
        batch.add_column(sa.Column("reason", sa.String(500), nullable=True))
        batch.add_column(sa.Column("decided_by", sa.String(30), nullable=True))
        batch.add_column(sa.Column("decided_at", TIME, nullable=True))
        decided_by = op.f("fk_entitlement_decided_by_user")
        batch.create_foreign_key(decided_by, "user", ["decided_by"], ["id"])


def _revocations() -> None:
    op.add_column("revocation", sa.Column("service", sa.String(64), nullable=True))
    op.add_column("revocation", sa.Column("cuts", sa.Boolean(), nullable=True))
    op.execute(sa.text("UPDATE revocation SET cuts = false"))
    with _changing("revocation", kind=("user", "key", "session")) as batch:
        batch.alter_column("cuts", existing_type=sa.Boolean(), nullable=False)


def _new_tables() -> None:
    op.create_table(
        "epoch",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("writes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_epoch")),
    )
    op.create_table(
        "audit_entry",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("actor", sa.String(length=30), nullable=True),
        sa.Column("credential", sa.String(length=30), nullable=True),
        sa.Column("address", sa.String(length=45), nullable=True),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("outcome", _choice("audit_entry", "outcome", "done", "refused"), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=True),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entry")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_entry_hash")),
    )
    op.create_index(op.f("ix_audit_entry_actor_seq"), "audit_entry", ["actor", "seq"])
    op.create_index(op.f("ix_audit_entry_subject_seq"), "audit_entry", ["subject", "seq"])

    op.create_table(
        "oidc_flow",
        sa.Column("state", sa.String(length=43), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("browser", sa.String(length=43), nullable=False),
        sa.Column("nonce", sa.String(length=43), nullable=False),
        sa.Column("verifier_sealed", sa.Text(), nullable=False),
        sa.Column("challenge", sa.String(length=43), nullable=False),
        sa.Column("redirect", sa.String(length=500), nullable=False),
        sa.Column("user_id", sa.String(length=30), nullable=True),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("login_code", sa.String(length=30), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("used_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_oidc_flow_user_id_user")),
        sa.PrimaryKeyConstraint("state", name=op.f("pk_oidc_flow")),
        sa.UniqueConstraint("login_code", name=op.f("uq_oidc_flow_login_code")),
    )
    op.create_index(op.f("ix_oidc_flow_expires_at"), "oidc_flow", ["expires_at"])
    op.create_table(
        "sign_in_attempts",
        sa.Column("account", sa.String(length=43), nullable=False),
        sa.Column("source", sa.String(length=43), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("account", "source", name=op.f("pk_sign_in_attempts")),
    )
    op.create_table(
        "stored_reply",
        sa.Column("owner", sa.String(length=30), nullable=False),
        sa.Column("route", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body_sealed", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("owner", "route", "key", name=op.f("pk_stored_reply")),
    )
    op.create_index(op.f("ix_stored_reply_created_at"), "stored_reply", ["created_at"])

    op.create_table(
        "tier",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("title", sa.String(length=100), nullable=False),
        sa.Column("highest_priority", sa.Integer(), nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("most_keys", sa.Integer(), nullable=False),
        sa.Column("monthly_budget_nano", sa.BigInteger(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tier")),
    )
    op.create_table(
        "user_group",
        sa.Column("id", sa.String(length=30), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_group")),
        sa.UniqueConstraint("name", name=op.f("uq_user_group_name")),
    )
    op.create_table(
        "group_entitlement",
        sa.Column("id", sa.String(length=30), nullable=False),
        sa.Column("group_id", sa.String(length=30), nullable=False),
        sa.Column("service", sa.String(length=64), nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("granted_by", sa.String(length=30), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["granted_by"], ["user.id"], name=op.f("fk_group_entitlement_granted_by_user")
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["user_group.id"], name=op.f("fk_group_entitlement_group_id_user_group")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group_entitlement")),
        sa.UniqueConstraint(
            "group_id", "service", name=op.f("uq_group_entitlement_group_id_service")
        ),
    )
    op.create_table(
        "group_member",
        sa.Column("group_id", sa.String(length=30), nullable=False),
        sa.Column("user_id", sa.String(length=30), nullable=False),
        sa.Column("added_by", sa.String(length=30), nullable=True),
        sa.Column("added_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["added_by"], ["user.id"], name=op.f("fk_group_member_added_by_user")
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["user_group.id"], name=op.f("fk_group_member_group_id_user_group")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_group_member_user_id_user")
        ),
        sa.PrimaryKeyConstraint("group_id", "user_id", name=op.f("pk_group_member")),
    )
    op.create_index(op.f("ix_group_member_user_id"), "group_member", ["user_id"])

    op.create_table(
        "invitation",
        sa.Column("id", sa.String(length=30), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("mailed", sa.Boolean(), nullable=False),
        sa.Column("tier", sa.String(length=32), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(length=30), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.Column("used_at", TIME, nullable=True),
        sa.Column("used_by", sa.String(length=30), nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by"], ["user.id"], name=op.f("fk_invitation_created_by_user")
        ),
        sa.ForeignKeyConstraint(["tier"], ["tier.id"], name=op.f("fk_invitation_tier_tier")),
        sa.ForeignKeyConstraint(["used_by"], ["user.id"], name=op.f("fk_invitation_used_by_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
    )
    op.create_table(
        "mail",
        sa.Column("id", sa.String(length=30), nullable=False),
        sa.Column(
            "kind",
            _choice(
                "mail",
                "kind",
                "verify_email",
                "registered",
                "reset_password",
                "invitation",
                "changed",
            ),
            nullable=False,
        ),
        sa.Column("user_id", sa.String(length=30), nullable=True),
        sa.Column("address", sa.String(length=254), nullable=False),
        sa.Column("token", sa.String(length=30), nullable=True),
        sa.Column("about", sa.String(length=32), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", TIME, nullable=True),
        sa.Column("problem", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_mail_user_id_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail")),
    )
    op.create_index(op.f("ix_mail_address"), "mail", ["address"])
    op.create_index(op.f("ix_mail_next_at"), "mail", ["next_at"])
    op.create_index(op.f("ix_mail_user_id"), "mail", ["user_id"])

    op.create_table(
        "oidc_identity",
        sa.Column("id", sa.String(length=30), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("user_id", sa.String(length=30), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_oidc_identity_user_id_user")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oidc_identity")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_oidc_identity_issuer_subject")),
    )
    op.create_index(op.f("ix_oidc_identity_user_id"), "oidc_identity", ["user_id"])

    op.create_table(
        "one_time_token",
        sa.Column("id", sa.String(length=30), nullable=False),
        sa.Column(
            "kind",
            _choice(
                "one_time_token",
                "kind",
                "verify_email",
                "reset_password",
                "administrator",
                "second_factor",
                "login_code",
            ),
            nullable=False,
        ),
        sa.Column("user_id", sa.String(length=30), nullable=True),
        sa.Column("bound", sa.String(length=254), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("used_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_one_time_token_user_id_user")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_one_time_token")),
    )
    op.create_index(op.f("ix_one_time_token_user_id"), "one_time_token", ["user_id"])

    op.create_table(
        "recovery_code",
        sa.Column("id", sa.String(length=30), nullable=False),
        sa.Column("user_id", sa.String(length=30), nullable=False),
        sa.Column("digest", sa.String(length=43), nullable=False),
        sa.Column("used_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_recovery_code_user_id_user")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_code")),
        sa.UniqueConstraint("user_id", "digest", name=op.f("uq_recovery_code_user_id_digest")),
    )


@contextmanager
def _changing(table: str, **choices: tuple[str, ...]) -> Iterator[BatchOperations]:
    """The table's checked columns get exactly these choices."""
    checks = {
        op.f(f"ck_{table}_{column}"): f"{column} IN ({', '.join(repr(v) for v in values)})"
        for column, values in choices.items()
    }
    if op.get_bind().dialect.name == "sqlite":
        # Checks of tables that were there are taken over, and new ones must be told.
        known = {check["name"] for check in sa.inspect(op.get_bind()).get_check_constraints(table)}
        counted = {"sqlite_autoincrement": True} if table == "revocation" else {}
        with op.batch_alter_table(table, recreate="always", table_kwargs=counted) as batch:
            yield batch
            for name, text in checks.items():
                if name in known:
                    batch.drop_constraint(name, type_="check")
                batch.create_check_constraint(name, sa.text(text))
        return
    with op.batch_alter_table(table) as batch:
        yield batch
    for name, text in checks.items():
        op.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT IF EXISTS {name}')
        op.create_check_constraint(name, table, text)
