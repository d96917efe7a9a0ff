"""Run by Alembic, over the connection and within the transaction that `catalog.verdicts.database` gives it."""

from alembic import context

from catalog.verdicts.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
