"""Alembic's entry: runs migrations on the connection that `upgrade` passed."""

from alembic import context

from nfresume.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
