"""Indexes for what one app or function has used: pages ask for it by the day."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_index("ix_usage_hours_app_id_hour", "usage_hours", ["app_id", "hour"])
    op.create_index("ix_usage_hours_function_id_hour", "usage_hours", ["function_id", "hour"])
