"""The tables of the web application."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from flask_login import AnonymousUserMixin, UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Integer, String, Table, column, table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """What all tables of the application share."""


db = SQLAlchemy(model_class=Base)
ADMINISTRATORS = frozenset({"Admin", "Root"})


def _now() -> datetime:
    return datetime.now(UTC)


roles_users = Table(
    "roles_users",
    Base.metadata,
    Column("user_id", ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("role_id", ForeignKey("role.id", ondelete="CASCADE"), primary_key=True),
)

runs_users = Table(
    "runs_users",
    Base.metadata,
    Column("user_id", ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("run_id", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
)

# The push service's own table; here only rows of deleted runs are removed from it.
push_subscriptions = table("webpush_subscription", column("runid"))


class Role(Base):
    """A named set of powers; Admin and Root may act on every run."""

    __tablename__ = "role"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    description: Mapped[str | None] = mapped_column(String(255))


class Visitor(AnonymousUserMixin):
    """Somebody who is not logged in."""

    id = None
    is_administrator = False


class User(UserMixin, Base):
    """A person who can log in."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    email: Mapped[str] = mapped_column(String(255), unique=True)
    password: Mapped[str | None] = mapped_column(String(255))
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    # What a session stores instead of the id: a new value ends every session of the user.
    fs_uniquifier: Mapped[str] = mapped_column(String(64), unique=True, default=lambda: secrets.token_hex(32))
    date_created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now)
    last_login_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    roles: Mapped[list[Role]] = relationship(secondary=roles_users, lazy="selectin")
    runs: Mapped[list[Run]] = relationship(secondary=runs_users, back_populates="users")

    @property
    def is_active(self) -> bool:
        """Whether the account may be used."""
        return self.active

    def get_id(self) -> str:
        """Return what the session remembers of the user."""
        return self.fs_uniquifier

    @property
    def is_administrator(self) -> bool:
        """Whether the user may do everything with every run."""
        return any(role.name in ADMINISTRATORS for role in self.roles)


class Run(Base):
    """A run: its directory holds the data, this row holds who made it and when."""

    __tablename__ = "run"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    runid: Mapped[str] = mapped_column(String(255), unique=True)
    name: Mapped[str] = mapped_column(String(255), default="")
    config: Mapped[str] = mapped_column(String(255))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("user.id", ondelete="SET NULL"), index=True)
    public: Mapped[bool] = mapped_column(Boolean, default=True)
    date_created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now, index=True)
    last_modified: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_accessed: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    bootstrap_disabled: Mapped[bool] = mapped_column(Boolean, default=False)

    owner: Mapped[User | None] = relationship(lazy="joined")
    users: Mapped[list[User]] = relationship(secondary=runs_users, back_populates="runs")
