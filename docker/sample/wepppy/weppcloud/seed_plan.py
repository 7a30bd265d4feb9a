"""What a seeded site holds, derived from one number and from nothing else: people, runs, checklists.

Nothing here reads a clock or a store, so the same number names the same site on every machine.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from wepppy.rq.jobs import TASKS

# Accounts end in a name that no mail can reach (RFC 2606); runs begin with a word that no other run's name begins with.
DOMAIN = "seed.example"
RUNID = re.compile(r"seed-(\d+)-(\d+)")
# These first runs are computed by the worker; the others carry a made-up checklist, up to but without the model's run.
COMPUTED = 2
PREPARED = TASKS[: [task for task, _, _ in TASKS].index("run_wepp_hillslopes")]
# Roles by e-mail address. Without a password an account is closed until an operator sets one.
PEOPLE = {
    f"ada@{DOMAIN}": ("User", "PowerUser"),
    f"ben@{DOMAIN}": ("User",),
    f"carla@{DOMAIN}": ("User",),
    f"dev@{DOMAIN}": ("User", "Dev"),
    f"erin@{DOMAIN}": ("User",),
    f"farid@{DOMAIN}": ("User", "PowerUser"),
}
_WHERE = ("Upper", "Lower", "North Fork", "South Fork", "West", "East", "Little", "Big")
_NAMES = "Alder Bear Cedar Elk Fern Granite Heron Larch Otter Pine Quartz Spruce"
_WATERS = ("Creek", "Gulch", "Basin", "Brook", "Draw", "Canyon")
_WHY = ("", "", ", after the fire", ", before thinning", ", road survey", ", wet year", ", baseline")
# The first run was made in spring 2024, each further one some hours later: newest first is last made first.
_FIRST_DAY = datetime(2024, 4, 1, 8, tzinfo=UTC)


@dataclass(frozen=True)
class PlannedRun:
    """One run; `owner` and `shared_with` are e-mail addresses, `checklist` is the hash `<runid>` of RedisPrep."""

    runid: str
    name: str
    owner: str | None
    shared_with: str | None
    public: bool
    created: datetime
    checklist: dict[str, str] = field(repr=False)


def runs(seed: int, count: int) -> Iterator[PlannedRun]:
    """Return the first `count` runs of the site of this seed; a larger count goes on where a smaller one ended."""
    emails = list(PEOPLE)
    created = _FIRST_DAY
    for number in range(1, count + 1):
        chance = random.Random(f"{seed}:{number}")  # noqa: S311 - repeatable on purpose
        created += timedelta(minutes=chance.randint(20, 600))
        owner = chance.choice([*emails, None]) if number > COMPUTED else emails[0]
        others = [email for email in emails if email != owner]
        shared = chance.choice(others) if owner and chance.random() < 0.2 else None
        public = owner is None or number <= COMPUTED or chance.random() < 0.85
        name = f"{chance.choice(_WHERE)} {chance.choice(_NAMES.split())} {chance.choice(_WATERS)}{chance.choice(_WHY)}"
        done = 0 if number <= COMPUTED else chance.randint(0, len(PREPARED))
        checklist = _checklist(int(created.timestamp()), done)
        yield PlannedRun(f"seed-{seed}-{number:05d}", name, owner, shared, public, created, checklist)


def _checklist(created: int, done: int) -> dict[str, str]:
    # One second apart: readers ask which of two tasks came last.
    moments = {
        f"timestamps:{task}": created + 60 + place for place, (task, _, _) in enumerate(PREPARED[:done])
    }
    fields = {name: str(value) for name, value in moments.items()}
    if moments:
        fields["last_modified"] = str(max(moments.values()))
    return {**fields, "attrs:loaded": "true"}
