"""The history of the tables. Migrations only go forward; a released one is never edited."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine

from freehold.domain.errors import Conflict
from freehold.store.sql import sqlite


def upgrade(url: URL) -> None:
    """Bring the database to the newest version, in one transaction: whole or not at all."""
    engine = create_engine(url)
    sqlite.configure(engine)
    try:
        with engine.begin() as connection:
            _upgrade(connection)
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == scripts.get_current_head():
        return
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        msg = f"The database was written by a newer Freehold (schema {current}). Start that version, or use another FREEHOLD_HOME."
        raise Conflict(msg)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
