"""The history of the tables. Migrations only go forward; a released one is never edited."""

from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, inspect, text

from freehold.domain.errors import Conflict
from freehold.store.sql import sqlite

_HERE = Path(__file__).parent


def newest() -> str:
    """The last revision. Each file in `versions` begins with the number of its own."""
    return max(path.name.partition("_")[0] for path in (_HERE / "versions").glob("[0-9]*.py"))


def upgrade(url: URL) -> None:
    """Bring the database to the newest revision, in one transaction: whole or not at all."""
    engine = create_engine(url)
    sqlite.configure(engine)
    try:
        with engine.begin() as connection:
            _upgrade_from(_current(connection), connection)
    finally:
        engine.dispose()


def _current(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")) or "")


def _upgrade_from(current: str, connection: Connection) -> None:
    if current == newest():
        return
    if current > newest():
        msg = f"This database was written by a newer Freehold (schema {current}). Start that one, or use another FREEHOLD_HOME."
        raise Conflict(msg)
    # Here, because it takes a third of a second and some megabytes, and nearly every start is up to date.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
