"""Remember what users prefer; a second branch joins here upstream, so two ways lead to this revision."""

import sqlalchemy as sa
from alembic import op

revision = "c91f6b2a4d7e"
down_revision = ("7b3c068e7a1d", "b7d9c3e2f1a4")
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "user_preferences",
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id"), primary_key=True),
        sa.Column("unitizer_is_english", sa.Boolean, nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("user_preferences")
