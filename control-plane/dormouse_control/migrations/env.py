"""Alembic executes this file. The connection, in its transaction, comes from `migrations.run`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
