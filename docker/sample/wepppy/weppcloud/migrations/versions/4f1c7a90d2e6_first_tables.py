"""The tables of an empty database."""

import sqlalchemy as sa
from alembic import op

revision = "4f1c7a90d2e6"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of accounts, runs and notification subscriptions."""
    op.create_table(
        "role",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(80), nullable=False, unique=True),
        sa.Column("description", sa.String(255)),
    )
    op.create_table(
        "user",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("email", sa.String(255), nullable=False, unique=True),
        sa.Column("password", sa.String(255)),
        sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("fs_uniquifier", sa.String(64), nullable=False, unique=True),
        sa.Column("date_created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("last_login_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("runid", sa.String(255), nullable=False, unique=True),
        sa.Column("name", sa.String(255), nullable=False, server_default=""),
        sa.Column("config", sa.String(255), nullable=False),
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey("user.id", ondelete="SET NULL"), index=True),
        sa.Column("public", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column(
            "date_created",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.now(),
            index=True,
        ),
        sa.Column("last_modified", sa.DateTime(timezone=True)),
        sa.Column("last_accessed", sa.DateTime(timezone=True)),
        sa.Column("bootstrap_disabled", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    for table, other in (("roles_users", "role"), ("runs_users", "run")):
        op.create_table(
            table,
            sa.Column(
                "user_id", sa.Integer(), sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True
            ),
            sa.Column(
                f"{other}_id",
                sa.Integer(),
                sa.ForeignKey(f"{other}.id", ondelete="CASCADE"),
                primary_key=True,
            ),
        )
    op.create_table(
        "webpush_subscription",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("runid", sa.Text(), nullable=False, index=True),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("p256dh", sa.Text(), nullable=False),
        sa.Column("auth", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("runid", "endpoint"),
    )


def downgrade() -> None:
    """Drop them all."""
    for table in ("webpush_subscription", "runs_users", "roles_users", "run", "user", "role"):
        op.drop_table(table)
