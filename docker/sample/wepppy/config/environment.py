"""Settings from the environment. A blank one counts as unset: so Compose passes those without a value."""

from __future__ import annotations

import os


def setting(name: str, default: str = "") -> str:
    """Return the environment variable `name` without spaces around it, `default` when it is unset or blank."""
    return os.environ.get(name, "").strip() or default


def flag(name: str, default: bool = False) -> bool:
    """Return the environment variable `name` read as yes or no, `default` when it is unset or blank."""
    value = setting(name).lower()
    return value in {"1", "true", "yes", "on"} if value else default


def site_prefix() -> str:
    """Return the path below which the site is served, `SITE_PREFIX`, with a slash in front and none at its end."""
    return "/" + setting("SITE_PREFIX", "/weppcloud").strip("/")
