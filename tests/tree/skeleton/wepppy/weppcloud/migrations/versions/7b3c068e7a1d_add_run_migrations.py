"""Record which files of a run were converted; no model describes this table."""

import sqlalchemy as sa
from alembic import op

revision = "7b3c068e7a1d"
down_revision = "cac20a11c2cb"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "run_migrations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
    )
    op.create_index("ix_run_migrations_run_id", "run_migrations", ["run_id"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("run_migrations")
