"""Indexes by which the inputs of a call are counted without being read: what failed, and when the last ended."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    failed, finished = sa.text("status > 1"), sa.text("finished_at IS NOT NULL")
    op.create_index("ix_inputs_failed_of_call", "inputs", ["call_id", "idx", "status"], sqlite_where=failed, postgresql_where=failed)
    op.create_index("ix_inputs_finished", "inputs", ["call_id", "finished_at"], sqlite_where=finished, postgresql_where=finished)
