"""Kill -9 at every part of a task: the database is entirely the old or the new one, all services come back, the next
run works, and nothing is left behind."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from scripts import envfile
from tests.database.deaths import Running, kill_at, measure, moment
from tests.database.stack import LightStack

BALLAST = """
DROP TABLE IF EXISTS ballast;
CREATE TABLE ballast (id int PRIMARY KEY, word text, part int);
INSERT INTO ballast SELECT n, md5(n::text), n % 100 FROM generate_series(1, 150000) n;
CREATE INDEX ON ballast (word);
CREATE INDEX ON ballast (part);
"""
UPDATE = "UPDATE ballast SET word = '{word}' WHERE id % 3 = 0"
LOGIN = """
umask 077
IFS= read -r word
printf '*:*:*:*:%s\\n' "$word" >/tmp/tried
PGPASSFILE=/tmp/tried psql -XAtc "select 1"
"""
# Operations that leave the database's content alone.
FIXED = {"rotate": ["db-rotate-password", "--yes"], "backup": ["db-backup"]}
Death = tuple[str, str, int, int]


@dataclass
class Sweep:
    """Two contents of the database with a dump of each, and how long each operation takes undisturbed."""

    stack: LightStack
    contents: dict[str, str] = field(default_factory=dict)
    now: str = ""
    times: dict[str, list[float]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Makes content and dump `old`, then `new`."""
        self.stack.psql(BALLAST)
        for name in ("old", "new"):
            self.stack.psql(UPDATE.format(word=name))
            self.stack.dump(f"{name}.dump")
            self.contents[name] = self.stack.content()
        self.now = "new"

    @property
    def other(self) -> str:
        """The content that the database does not have now."""
        return "old" if self.now == "new" else "new"

    def command(self, operation: str) -> list[str]:
        """The task, and what it needs to be there."""
        if operation in FIXED:
            return FIXED[operation]
        if operation == "restore":
            return ["db-restore", f"--dump={self.other}.dump", "--yes"]
        if not any("_before_" in name for name in self.stack.databases()):
            self.stack.must("db-restore", f"--dump={self.other}.dump", "--yes")
            self.now = self.other
        return ["db-rollback", "--yes"]

    def measured(self, operation: str) -> list[float]:
        """Times of an undisturbed run."""
        if operation not in self.times:
            self.times[operation] = measure(self.stack, self.command(operation))
            if operation not in FIXED:
                self.now = self.other
            self.stack.drop_kept()
        return self.times[operation]

    def found(self) -> str:
        """Which of the two contents the database has; fails for a mixture."""
        content = self.stack.content()
        matching = [name for name, text in self.contents.items() if text == content]
        assert matching, f"neither the old nor the new database:\n{content}"
        return matching[0]


@pytest.fixture(scope="module")
def sweep(light: LightStack) -> Sweep:
    made = Sweep(light)
    made.prepare()
    return made


def test_whatever_is_killed_the_database_is_whole_and_the_next_run_works(
    death: Death, sweep: Sweep, stack: LightStack
) -> None:
    operation, victim, number, count = death
    times = sweep.measured(operation)
    roles, command, before = stack.roles(), sweep.command(operation), sweep.now
    run = Running(stack, command)
    kill_at(stack, run, victim, moment(times, number, count), times)
    ended_well = run.wait() == 0
    if ended_well and victim == "container":
        # The task was through with looking after the services: what was killed then is killed by its user.
        stack.docker("start", stack.container("postgres"))
    stack.wait_until_settled()
    sweep.now = sweep.found()
    assert "Traceback" not in run.output, run.output
    if operation in FIXED:
        assert sweep.now == before
        demand_one_password(stack)
        demand_whole_backups(stack)
    elif victim != "task":
        assert (sweep.now != before) == ended_well, run.output
    # The next run.
    wanted = sweep.now if operation in FIXED else sweep.other
    stack.must(*sweep.command(operation))
    sweep.now = sweep.found()
    assert operation == "rollback" or sweep.now == wanted
    assert stack.left_behind() == []
    assert stack.roles() == roles
    demand_one_password(stack)


def demand_whole_backups(stack: LightStack) -> None:
    """Every backup under its final name can be restored, whatever was killed while it was made."""
    for backup in stack.backups.glob("wepppy-*.dump"):
        stack.in_sidecar("wepp-backup", "verify", "--dump", backup.name)


def demand_one_password(stack: LightStack) -> None:
    """`.env`, the secret file and the role have the same password, and it is asked for."""
    password = envfile.read(stack.env_file).get("POSTGRES_PASSWORD")
    assert (stack.env_file.parent / "secrets" / "postgres_password").read_text() == password
    assert stack.env_file.stat().st_mode & 0o777 == 0o600
    assert logs_in(stack, password)
    assert not logs_in(stack, password + "x")


def logs_in(stack: LightStack, password: str) -> bool:
    """True when the server takes the password over the network."""
    return stack.in_sidecar("bash", "-c", LOGIN, stdin=f"{password}\n", check=False) == "1\n"
