"""Let a run refuse git."""

import sqlalchemy as sa
from alembic import op

revision = "b7d9c3e2f1a4"
down_revision = "cac20a11c2cb"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "run", sa.Column("bootstrap_disabled", sa.Boolean, nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("run", "bootstrap_disabled")
