"""Open some features to groups; the groups' rows come with the table."""

import sqlalchemy as sa
from alembic import op

revision = "e7a1c9d204bf"
down_revision = "c91f6b2a4d7e"
branch_labels = None
depends_on = None

GROUPS = {
    "openet_ts": "OpenET Time Series",
    "batch_runner": "Batch Runner",
    "culvert_runner": "Culvert Runner",
    "omni_contrasts": "Omni Contrasts",
    "path_ce": "Path CE",
    "ag_fields": "Agricultural Fields",
}


def upgrade() -> None:
    """Make the table on the connection itself and fill it."""
    groups = sa.Table(
        "feature_access_group",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(80), nullable=False, unique=True),
        sa.Column("label", sa.String(255), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
    )
    groups.create(op.get_bind())
    op.bulk_insert(groups, [{"key": key, "label": label} for key, label in GROUPS.items()])


def downgrade() -> None:
    """Refuse: who had access is not forgotten."""
    raise RuntimeError("the history of feature access is kept")
