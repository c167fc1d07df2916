"""The tables, as SQLAlchemy Core. Migrations make the same ones; a test compares."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as whole microseconds since 1970: exact, sortable, and alike in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        del dialect
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        del dialect
        return None if value is None else _EPOCH + timedelta(microseconds=value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

environments = Table(
    "environments",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("created_at", Moment, nullable=False),
    Column("web_suffix", String, nullable=False),
)

apps = Table(
    "apps",
    metadata,
    Column("id", String, primary_key=True),
    Column("environment", String, nullable=False),
    Column("description", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("name", String),
    Column("version", Integer, nullable=False),
    Column("stopped_at", Moment),
    Column("tags", JSON, nullable=False),
    Column("client_version", String, nullable=False),
    Index(None, "environment", "created_at"),
    Index("ix_apps_live", "state", sqlite_where=text("state != 'stopped'")),
)

deployments = Table(
    "deployments",
    metadata,
    Column("app_id", ForeignKey("apps.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("deployed_at", Moment, nullable=False),
    Column("client_version", String, nullable=False),
    Column("layout", JSON, nullable=False),
    Column("tag", String, nullable=False),
    Column("rollback_of", Integer, nullable=False),
    Column("commit_info", LargeBinary, nullable=False),
    Column("kind", String, nullable=False, server_default="standard"),
)

functions = Table(
    "functions",
    metadata,
    Column("id", String, primary_key=True),
    Column("app_id", String, nullable=False),
    Column("tag", String, nullable=False),
    Column("live_definition_id", String),
    Column("base_id", String, index=True),
    Column("serialized_params", LargeBinary, nullable=False),
    Column("options", LargeBinary, nullable=False),
    Index(None, "app_id", "tag"),
)

definitions = Table(
    "definitions",
    metadata,
    Column("id", String, primary_key=True),
    Column(
        "function_id", ForeignKey("functions.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"), nullable=False, index=True
    ),
    Column("payload", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
)

classes = Table(
    "classes",
    metadata,
    Column("id", String, primary_key=True),
    Column("app_id", String, nullable=False),
    Column("tag", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index(None, "app_id", "tag"),
)

calls = Table(
    "calls",
    metadata,
    Column("id", String, primary_key=True),
    Column("function_id", String, nullable=False),
    Column("app_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("invocation", String, nullable=False),
    Column("created_at", Moment, nullable=False, index=True),
    Column("parent_input_id", String, nullable=False),
    Column("is_cancelled", Boolean, nullable=False),
    Column("request_key", String, nullable=False, server_default=""),
    Column("retry_policy", LargeBinary, nullable=False, server_default=text("x''")),
    Column("origin", String, nullable=False, server_default=""),
    Index(None, "function_id", "created_at"),
    Index("ix_calls_request_key", "request_key", sqlite_where=text("request_key != ''")),
    Index(
        "ix_calls_parent_input_id",
        "parent_input_id",
        sqlite_where=text("parent_input_id != ''"),
    ),
)

inputs = Table(
    "inputs",
    metadata,
    Column("id", String, primary_key=True),
    Column("call_id", ForeignKey("calls.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"), nullable=False),
    Column("idx", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    # Last: SQLite reads through a long value to reach the columns behind it.
    Column("payload", LargeBinary, nullable=False),
    Column("result", LargeBinary),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("status", Integer),
    Column("method_name", String, nullable=False, server_default=""),
    Index(None, "call_id", "idx"),
    Index("ix_inputs_unfinished", "call_id", sqlite_where=text("finished_at IS NULL")),
    Index("ix_inputs_failed", "finished_at", sqlite_where=text("status > 1")),
    Index("ix_inputs_failed_of_call", "call_id", "idx", "status", sqlite_where=text("status > 1")),
    Index(
        "ix_inputs_finished",
        "call_id",
        "finished_at",
        sqlite_where=text("finished_at IS NOT NULL"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("input_id", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("call_id", String, nullable=False, index=True),
    Column("task_id", String, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("outcome", Text, nullable=False),
)

schedules = Table(
    "schedules",
    metadata,
    Column("function_id", String, primary_key=True),
    Column("app_id", String, nullable=False, index=True),
    Column("rule", JSON, nullable=False),
    Column("next_at", Moment, index=True),
    Column("is_paused", Boolean, nullable=False),
    Column("last_due_at", Moment),
    Column("last_call_id", String, nullable=False),
    Column("missed", Integer, nullable=False),
)

autoscaler_overrides = Table(
    "autoscaler_overrides",
    metadata,
    Column("function_id", String, primary_key=True),
    Column("settings", JSON, nullable=False),
)

images = Table(
    "images",
    metadata,
    Column("id", String, primary_key=True),
    Column("key", String, nullable=False, index=True),
    Column("state", String, nullable=False, index=True),
    Column("request", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("builder_version", String, nullable=False),
    Column("layers", JSON, nullable=False),
    Column("config", JSON, nullable=False),
    Column("error", Text, nullable=False),
    Column("app_id", String, nullable=False),
    Column("build_function_id", String, nullable=False),
)

trees = Table(
    "trees",
    metadata,
    Column("id", String, primary_key=True),
    Column("files", JSON, nullable=False),  # rows of path, digest, mode
)

mounts = Table(
    "mounts",
    metadata,
    Column("id", String, primary_key=True),
    Column("tree_id", ForeignKey("trees.id", deferrable=True, initially="DEFERRED"), nullable=False, index=True),
    Column("created_at", Moment, nullable=False),
    Column("name", String, nullable=False, index=True),
    Column("app_id", String, nullable=False),
)

proxy_tokens = Table(
    "proxy_tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("secret_hash", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("name", String, nullable=False),
    Column("is_scoped", Boolean, nullable=False),
    Column("environment_ids", JSON, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("secret_hash", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("name", String, nullable=False),
    Column("last_used_at", Moment),
    Column("expires_at", Moment),
    Column("is_disabled", Boolean, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("id", String, primary_key=True),
    Column("environment", String, nullable=False),
    Column("name", String, nullable=False),
    Column("keys", JSON, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("last_used_at", Moment),
    Column("app_id", String, nullable=False),
    Index(
        "uq_secrets_environment_name",
        "environment",
        "name",
        unique=True,
        sqlite_where=text("name != ''"),
    ),
)

volumes = Table(
    "volumes",
    metadata,
    Column("id", String, primary_key=True),
    Column("environment", String, nullable=False),
    Column("name", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index(
        "uq_volumes_environment_name",
        "environment",
        "name",
        unique=True,
        sqlite_where=text("name != ''"),
    ),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String, primary_key=True),
    Column("app_id", String, nullable=False),
    Column("function_id", String, nullable=False),
    Column("definition_id", String, nullable=False),
    Column("state", String, nullable=False),
    Column("enqueued_at", Moment, nullable=False, index=True),
    Column("started_at", Moment),
    Column("ready_at", Moment),
    Column("ended_at", Moment),
    Column("exit_kind", String),
    Column("exit_code", Integer),
    Column("exit_detail", Text),
    Column("token_hash", String, nullable=False, server_default=""),
    Column("gpus", JSON, nullable=False, server_default="[]"),
    Index(None, "app_id", "enqueued_at"),
    Index("ix_tasks_alive", "state", sqlite_where=text("state != 'ended'")),
)

blobs = Table(
    "blobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("used_at", Moment, nullable=False, index=True),
)

blob_aliases = Table(
    "blob_aliases",
    metadata,
    Column("id", String, primary_key=True),
    Column("blob_id", String, nullable=False, index=True),
)

events = Table(
    "events",
    metadata,
    # SQLite counts up by itself only in an INTEGER key; Postgres gets the wide one.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("subject", String, nullable=False),
    Column("at", Moment, nullable=False),
    Column("kind", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("fields", JSON, nullable=False),
    Index(None, "subject", "number"),
)

usage_hours = Table(
    "usage_hours",
    metadata,
    Column("hour", Moment, primary_key=True),
    Column("function_id", String, primary_key=True),
    Column("resource", String, primary_key=True),
    Column("app_id", String, nullable=False),
    Column("amount", Float, nullable=False),
    Index(None, "app_id", "hour"),
    Index(None, "function_id", "hour"),
)

usage_totals = Table(
    "usage_totals",
    metadata,
    Column("subject", String, primary_key=True),
    Column("resource", String, primary_key=True),
    Column("amount", Float, nullable=False),
    Column("at", Moment, nullable=False, index=True),
)

metrics = Table(
    "metrics",
    metadata,
    Column("width", Integer, primary_key=True),  # seconds
    Column("function_id", String, primary_key=True),
    Column("start", Moment, primary_key=True),
    Column("app_id", String, nullable=False),
    Column("figures", JSON, nullable=False),
    Index(None, "width", "start"),
)
