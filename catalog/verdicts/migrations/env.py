"""Alembic's environment: it runs on the connection, and in the transaction, of `catalog.verdicts.database`."""

from alembic import context

from catalog.verdicts.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
