"""Give every account its own session identity; the table itself is older than any revision."""

import sqlalchemy as sa
from alembic import op

revision = "28e48afd0090"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, fill it, and then require it."""
    op.add_column("user", sa.Column("fs_uniquifier", sa.String(64), nullable=True))
    op.get_bind().execute(sa.text('UPDATE "user" SET fs_uniquifier = md5(random()::text || id::text)'))
    with op.batch_alter_table("user") as table:
        table.alter_column("fs_uniquifier", nullable=False)
        table.create_unique_constraint("uq_user_fs_uniquifier", ["fs_uniquifier"])


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("user", "fs_uniquifier")
