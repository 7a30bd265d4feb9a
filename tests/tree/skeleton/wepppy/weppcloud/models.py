"""The tables of the application's database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
Column, Integer, String, Boolean, DateTime = db.Column, db.Integer, db.String, db.Boolean, db.DateTime


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _link(name: str, left: str, right: str) -> Any:
    return db.Table(
        name,
        Column(f"{left}_id", Integer, db.ForeignKey(f"{left}.id"), primary_key=True),
        Column(f"{right}_id", Integer, db.ForeignKey(f"{right}.id"), primary_key=True),
    )


roles_users = _link("roles_users", "user", "role")
runs_users = _link("runs_users", "user", "run")


class Role(db.Model):
    """What a user may do: PowerUser, Admin, Dev or Root."""

    id = Column(Integer, primary_key=True)
    name = Column(String(80), unique=True)
    description = Column(String(255))


class Run(db.Model):
    """A project; its files are in a folder."""

    id = Column(Integer, primary_key=True)
    runid = Column(String(255), unique=True)
    date_created = Column(DateTime, default=_now)
    owner_id = Column(Integer, db.ForeignKey("user.id"))
    config = Column(String(255))
    last_modified = Column(DateTime)
    last_accessed = Column(DateTime)
    bootstrap_disabled = Column(Boolean, nullable=False, server_default=db.false())


class User(UserMixin, db.Model):
    """An account."""

    id = Column(Integer, primary_key=True)
    email = Column(String(255), unique=True, nullable=False)
    password = Column(String(255))
    active = Column(Boolean, default=True)
    fs_uniquifier = Column(String(64), unique=True, nullable=False)
    roles = db.relationship("Role", secondary=roles_users)
    runs = db.relationship("Run", secondary=runs_users)


class UserPreferences(db.Model):
    """What a user prefers."""

    user_id = Column(Integer, db.ForeignKey("user.id"), primary_key=True)
    unitizer_is_english = Column(Boolean, nullable=False, server_default=db.false())


class FeatureAccessGroup(db.Model):
    """A feature that is open to a group; the rows come with a migration."""

    id = Column(Integer, primary_key=True)
    key = Column(String(80), unique=True, nullable=False)
    label = Column(String(255), nullable=False)
    active = Column(Boolean, nullable=False, server_default=db.true())
