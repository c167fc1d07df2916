"""What was used, by hour and function, and by call and task."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    _usage()


def _usage() -> None:
    op.create_table(
        "usage_hours",
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("function_id", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("app_id", sa.String(), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "function_id", "resource", name=op.f("pk_usage_hours")),
    )
    op.create_table(
        "usage_totals",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "resource", name=op.f("pk_usage_totals")),
    )
    op.create_index(op.f("ix_usage_totals_at"), "usage_totals", ["at"], unique=False)
