"""The migrations and the tables in code say the same, and an upgrade happens whole or not at all."""

import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from freehold.domain.errors import Conflict
from freehold.store import migrations
from freehold.store.sql import sqlite
from freehold.store.sql.tables import metadata


@pytest.fixture
def path(tmp_path):
    return tmp_path / "100%" / "freehold.db"  # a name that a configuration parser would trip over


@pytest.fixture
def url(path):
    path.parent.mkdir()
    return sqlite.url(path)


def test_an_upgraded_empty_database_has_exactly_the_tables_in_code(url):
    migrations.upgrade(url)
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert _indexes(inspect(connection)) == _indexes_of_a_fresh_database()
    engine.dispose()


def test_upgrading_again_changes_nothing(url, path):
    migrations.upgrade(url)
    before = _schema(path)
    migrations.upgrade(url)
    assert _schema(path) == before


def test_the_file_names_and_alembic_agree_which_revision_is_the_newest():
    config = Config()
    config.set_main_option("script_location", "freehold.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [migrations.newest()]


def test_a_database_of_a_newer_version_is_left_alone(url, path):
    migrations.upgrade(url)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Conflict, match="newer Freehold"):
        migrations.upgrade(url)


def test_a_failed_upgrade_leaves_the_database_as_it_was(url, path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE tasks (id TEXT)")  # in the way, after several tables have been made
    with pytest.raises(Exception, match="already exists"):
        migrations.upgrade(url)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("tasks",)]


def _indexes(inspector):
    return {table: sorted(index["name"] for index in inspector.get_indexes(table)) for table in metadata.tables}


def _indexes_of_a_fresh_database():
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        return _indexes(inspect(connection))


def _schema(path):
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
