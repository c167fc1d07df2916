"""GPUs of tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("gpus", sa.JSON(), server_default="[]", nullable=False))
