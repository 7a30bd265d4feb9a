"""What values of settings must be, by the settings' names: one that cannot work is refused before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from scripts.base.errors import ExitCode, StackError

# Names of settings, what their values match, and what that is in words. The first that fits a name counts.
RULES = (
    ("COMPOSE_PROJECT_NAME", "[a-z0-9][a-z0-9_-]*", "small letters, digits, `-` and `_`, a letter or digit first"),
    ("UID|GID", r"\d+", "a number: see `id -u` and `id -g`"),
    ("PORT_.*|POSTGRES_PORT|REDIS_PORT", r"0*([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])",
     "a port's number alone, 1 to 65535"),
    ("WC1_DIR|GEODATA_DIR|WEPPPY_SIBLINGS_DIR|WEPPPY_CONSTRAINTS_DIR|PROFILE_PLAYBACK_DATA_DIR", "/.*",
     "an absolute path; empty for a volume"),
    ("SITE_PREFIX", r"(/[^/\s]+)+", "a path such as /weppcloud, without a slash at its end"),
    (".*_(WORKERS|THREADS|COUNT|PIDS)", r"[1-9]\d*", "a whole number from 1 on"),
    ("RUN_LIMIT_PER_.*", r"[1-9]\d*/(second|minute|hour|day)(,[1-9]\d*/(second|minute|hour|day))*",
     "limits such as 10/minute,100/day"),
    ("WEBSOCKET_LIMIT_PER_ADDRESS", r"\d+", "a whole number, 0 for no limit"),
    ("SWARM_ENDPOINT_MODE", "dnsrr|vip", "dnsrr or vip"),
    ("SWARM_ENCRYPTED", "yes|no", "yes or no"),
    ("SWARM_IMAGE_PREFIX", "[^ ]+/", "a registry and a path that end in /"),
    (".*_(MEMORY|SHM)|SCRATCH_SIZE", r"\d+(\.\d+)?[bkmgBKMG]?[bB]?", "a size such as 512m or 2g"),
)  # fmt: skip


def problems(values: Mapping[str, str]) -> Iterator[StackError]:
    """Yield a problem for each value that cannot work. values: of settings by name; empty ones are defaults."""
    for key, value in values.items():
        rule = next((rule for rule in RULES if re.fullmatch(rule[0], key)), None)
        if rule and value and not re.fullmatch(rule[1], value):
            yield StackError(f"{key}={value} cannot work", f"{key} is {rule[2]}", ExitCode.USAGE)


def require(values: Mapping[str, str]) -> None:
    """Raise StackError for the first value that cannot work."""
    for problem in problems(values):
        raise problem
