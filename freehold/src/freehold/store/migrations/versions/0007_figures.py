"""What functions did over time."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    _metrics()


def _metrics() -> None:
    op.create_table(
        "metrics",
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("function_id", sa.String(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("app_id", sa.String(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("width", "function_id", "start", name=op.f("pk_metrics")),
    )
    op.create_index(op.f("ix_metrics_width_start"), "metrics", ["width", "start"], unique=False)
