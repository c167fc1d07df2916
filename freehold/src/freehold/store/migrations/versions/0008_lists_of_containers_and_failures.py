"""Indexes for lists that people look through: containers of all apps, and what failed."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_tasks_enqueued_at", "tasks", ["enqueued_at"])
    failed = sa.text("status > 1")
    op.create_index("ix_inputs_failed", "inputs", ["finished_at"], sqlite_where=failed, postgresql_where=failed)
