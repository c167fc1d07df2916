"""Of each call the span that it was made in."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("calls", sa.Column("origin", sa.String(), server_default="", nullable=False))
