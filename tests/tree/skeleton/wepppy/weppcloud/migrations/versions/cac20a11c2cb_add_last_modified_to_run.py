"""Record when a run was changed and visited."""

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "cac20a11c2cb"
down_revision = "28e48afd0090"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and fill the first from the runs' folders."""
    op.add_column("run", sa.Column("last_modified", sa.DateTime))
    op.add_column("run", sa.Column("last_accessed", sa.DateTime))
    connection = op.get_bind()
    for row in connection.execute(sa.text("SELECT runid FROM run")).fetchall():
        folder = Path("/wc1/runs", row.runid[:2], row.runid)
        if folder.is_dir():
            changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC).replace(tzinfo=None)
            connection.execute(
                sa.text("UPDATE run SET last_modified = :changed WHERE runid = :runid"),
                {"changed": changed, "runid": row.runid},
            )


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("run", "last_accessed")
    op.drop_column("run", "last_modified")
