"""GPUs of tasks; volumes."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    _volumes()
    op.add_column("tasks", sa.Column("gpus", sa.JSON(), server_default="[]", nullable=False))


def _volumes() -> None:
    op.create_table(
        "volumes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volumes")),
    )
    named = sa.text("name != ''")
    op.create_index(
        "uq_volumes_environment_name", "volumes", ["environment", "name"], unique=True, sqlite_where=named, postgresql_where=named
    )
