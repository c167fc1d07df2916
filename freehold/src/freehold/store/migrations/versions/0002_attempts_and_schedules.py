"""Attempts, schedules, settings that were changed, and what a restarted engine must know of calls and tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _calls()
    op.add_column("inputs", sa.Column("attempt", sa.Integer(), server_default="0", nullable=False))
    op.add_column("inputs", sa.Column("status", sa.Integer(), nullable=True))
    op.add_column("inputs", sa.Column("method_name", sa.String(), server_default="", nullable=False))
    op.add_column("deployments", sa.Column("kind", sa.String(), server_default="standard", nullable=False))
    op.add_column("tasks", sa.Column("token_hash", sa.String(), server_default="", nullable=False))
    op.create_table(
        "attempts",
        sa.Column("input_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("input_id", "number", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_call_id"), "attempts", ["call_id"], unique=False)
    op.create_table(
        "schedules",
        sa.Column("function_id", sa.String(), nullable=False),
        sa.Column("app_id", sa.String(), nullable=False),
        sa.Column("rule", sa.JSON(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("last_due_at", sa.BigInteger(), nullable=True),
        sa.Column("last_call_id", sa.String(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("function_id", name=op.f("pk_schedules")),
    )
    op.create_index(op.f("ix_schedules_app_id"), "schedules", ["app_id"], unique=False)
    op.create_index(op.f("ix_schedules_next_at"), "schedules", ["next_at"], unique=False)
    op.create_table(
        "autoscaler_overrides",
        sa.Column("function_id", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("function_id", name=op.f("pk_autoscaler_overrides")),
    )


def _calls() -> None:
    op.add_column("calls", sa.Column("request_key", sa.String(), server_default="", nullable=False))
    op.add_column("calls", sa.Column("retry_policy", sa.LargeBinary(), server_default=sa.text("x''"), nullable=False))
    op.create_index(op.f("ix_calls_function_id_created_at"), "calls", ["function_id", "created_at"], unique=False)
    for column in ("request_key", "parent_input_id"):
        some = sa.text(f"{column} != ''")
        op.create_index(f"ix_calls_{column}", "calls", [column], unique=False, sqlite_where=some, postgresql_where=some)
