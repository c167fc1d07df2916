"""What Alembic runs for every command: the migrations, in the connection that `upgrade` opened."""

from alembic import context

from freehold.store.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite rolls tables back too, once the driver leaves transactions to us
)
context.run_migrations()
