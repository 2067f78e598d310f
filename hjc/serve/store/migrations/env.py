"""Run by Alembic on the connection that :meth:`hjc.serve.store.database.Store` gives; also offline (SQL text)."""

from alembic import context

from hjc.serve.store.schema import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
else:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
context.run_migrations()
