"""What a sweep of kills works on: contents of the database that it knows to the last definition, where each can be had
from, and how many of its kills hit something."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from tests.database.kills import Kill, Measured, measure
from tests.database.migrate.bare import BareServer
from tests.database.migrate.target import flags, open_again
from tests.database.stack import BELONGINGS, CONTENT, LightStack, statements

# What all contents have in common.
BALLAST = """
CREATE ROLE ballast_owner; CREATE ROLE ballast_reader;
SET ROLE wepppy;
CREATE TABLE ballast (id int PRIMARY KEY, word text, part int);
INSERT INTO ballast SELECT n, md5(n::text), n % 100 FROM generate_series(1, 150000) n;
CREATE INDEX ON ballast (word);
CREATE INDEX ON ballast (part);
CREATE TABLE weight (id serial PRIMARY KEY, ballast int NOT NULL REFERENCES ballast, kilos numeric);
RESET ROLE;
ALTER TABLE weight OWNER TO ballast_owner;
INSERT INTO weight (ballast, kilos) SELECT n, n / 7.0 FROM generate_series(1, 2000) n;
GRANT SELECT ON ballast TO ballast_reader;
"""
BELONGING = """
ALTER DATABASE {database} SET work_mem = '9MB';
ALTER DATABASE {database} CONNECTION LIMIT 90;
ALTER ROLE ballast_reader IN DATABASE {database} SET search_path = 'odd schema', public;
GRANT TEMPORARY ON DATABASE {database} TO ballast_reader WITH GRANT OPTION;
"""
# What each has for itself: rows, a sequence, an index, a constraint, views, an owner, grants.
VARIANT = """
DROP VIEW IF EXISTS heavy; DROP MATERIALIZED VIEW IF EXISTS parts; DROP INDEX IF EXISTS own;
UPDATE ballast SET word = '{name}' WHERE id % 3 = 0;
SELECT setval('weight_id_seq', {number});
CREATE INDEX own ON ballast (part, word) WHERE part <> {number};
ALTER TABLE weight DROP CONSTRAINT IF EXISTS own, ADD CONSTRAINT own CHECK (kilos > -{number});
CREATE VIEW heavy AS SELECT id, '{name}'::text AS name FROM ballast WHERE part > 50;
CREATE MATERIALIZED VIEW parts AS SELECT part, count(*), '{name}' AS name FROM ballast GROUP BY part;
ALTER VIEW heavy OWNER TO ballast_owner;
GRANT SELECT, {right} ON weight TO ballast_reader;
REVOKE {wrong} ON weight FROM ballast_reader;
"""
# Not in those that move: logical replication leaves them out.
LARGE_OBJECT = """
SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata;
SELECT lo_from_bytea(4711, convert_to(repeat('{name}', 9000), 'UTF8'));
"""
# Contents come in pairs: each task makes the one of its pair live that is not.
DUMPS, DATABASES = ("old", "new"), ("first", "second")
MOVES = ("migrate", "migrate-live")
# Operations that leave the database's content alone.
FIXED = {"rotate": ["db-rotate-password", "--yes"], "backup": ["db-backup"]}
SERVER = "SELECT rolname, rolsuper, rolcanlogin FROM pg_roles ORDER BY 1; SELECT datname FROM pg_database ORDER BY 1"
SEALED = (
    "SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(setconfig) c \
WHERE datname = '{name}' AND c = 'default_transaction_read_only=on'"
)
CLEAN_SECONDS = 60.0


def variant(name: str) -> str:
    """SQL that makes the content of that name."""
    number = (*DUMPS, *DATABASES).index(name) + 3000
    right, wrong = ("INSERT", "DELETE") if number % 2 else ("DELETE", "INSERT")
    return VARIANT.format(name=name, number=number, right=right, wrong=wrong)


@dataclass
class Sweep:
    """All contents by name, which of them is live and which is kept, and how long each operation takes undisturbed."""

    stack: LightStack
    contents: dict[str, str] = field(default_factory=dict)
    now: str = ""
    kept: str = ""
    seen: set[str] = field(default_factory=set)
    roles: set[str] = field(default_factory=set)
    source: BareServer | None = None
    runs: dict[str, Measured] = field(default_factory=dict)
    hits: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def prepare(self) -> None:
        """Makes content and dump `old`, then `new`."""
        self.stack.psql(BALLAST + BELONGING.format(database="wepppy"))
        for name in DUMPS:
            self.stack.psql(variant(name) + LARGE_OBJECT.format(name=name))
            self.stack.dump(f"{name}.dump")
            self.contents[name] = self.stack.everything()
        self.now = "new"
        self.roles = set(self.stack.roles())

    def prepare_source(self, source: BareServer) -> None:
        """Makes the contents `first` and `second` at a server outside, each with a role that the stack lacks."""
        image = self.stack.docker(
            "inspect", "--format", "{{.Image}}", self.stack.container("postgres")
        ).strip()
        dump = self.stack.in_sidecar("pg_dump", "--username=postgres", "--no-large-objects", "--no-owner")
        # The source is of an older major.
        dump = "".join(
            line for line in statements(dump).splitlines(True) if "transaction_timeout" not in line
        )
        source.psql("CREATE ROLE wepppy SUPERUSER; CREATE ROLE ballast_owner; CREATE ROLE ballast_reader")
        for name in DATABASES:
            source.psql(f"CREATE DATABASE {name} TEMPLATE template0 OWNER wepppy")
            source.psql(f"SET ROLE wepppy; {BELONGING.format(database=name)}")
            source.psql(f"SET ROLE wepppy; {dump}", name)
            source.psql(f"SET ROLE wepppy; CREATE ROLE reader_{name}; {variant(name)}", name)
            source.psql(f"SET ROLE wepppy; GRANT SELECT ON ballast TO reader_{name}", name)
            inside = source.psql(CONTENT, name) + statements(source.definitions(name, image))
            self.contents[name] = inside + source.psql(BELONGINGS, name)
        self.source = source

    def source_holds(self) -> dict[str, str]:
        """All that the source holds, defines and is told to do."""
        assert self.source
        source = self.source
        return {"server": source.psql(SERVER)} | {
            name: source.psql(CONTENT + BELONGINGS, name) + statements(source.own_definitions(name))
            for name in DATABASES
        }

    # ---- what a task is to do, and what it did ----

    def other(self, operation: str) -> str:
        """The content that the operation makes live."""
        if operation in FIXED:
            return self.now
        if operation == "rollback":
            return self.kept
        pair = DATABASES if operation in MOVES else DUMPS
        return pair[1] if self.now == pair[0] else pair[0]

    def command(self, operation: str) -> list[str]:
        """The task, and what it needs to be there."""
        if operation in FIXED:
            return FIXED[operation]
        if operation == "restore":
            return ["db-restore", f"--dump={self.other(operation)}.dump", "--yes"]
        if operation in MOVES:
            assert self.source
            live = ["--live"] if operation == "migrate-live" else []
            named = flags(self.source, self.other(operation), "peer")
            return ["bare-metal-migrate", *named, "--yes", *live]
        if not self.kept:
            self.stack.must(*self.command("restore"))
            self.look()
        return ["db-rollback", "--yes"]

    def begin(self) -> None:
        """Nothing is kept, and roles that came with what was are gone."""
        self.stack.drop_kept()
        self.kept = ""
        self.seen = {self.now}
        for name in DATABASES:
            if name != self.now:
                self.stack.psql(f"DROP ROLE IF EXISTS reader_{name}", "postgres")

    def measured(self, operation: str) -> Measured:
        """An undisturbed run."""
        if operation not in self.runs:
            self.runs[operation] = measure(self.stack, operation, self.command(operation))
            self.look()
            self.unseal()
            self.begin()
        return self.runs[operation]

    def measure_again(self, operation: str) -> None:
        """Forgets the undisturbed run: the next kill is timed by a new one."""
        self.runs.pop(operation, None)

    def look(self) -> None:
        """Records which content is live and which kept; fails for a mixture of any two."""
        found = self.named("")
        if found != self.now:
            self.kept, self.now = self.now, found
            self.seen.add(found)
        if self.kept:
            kept = max(name for name in self.stack.databases() if "_before_" in name)
            assert self.named(kept) == self.kept

    def named(self, database: str) -> str:
        """The name of what a database holds."""
        everything = self.stack.everything(database)
        matching = [name for name, text in self.contents.items() if text == everything]
        assert matching, f"none of the contents that were ever whole:\n{everything}"
        return matching[0]

    def wait_until_clean(self) -> None:
        """Returns when no move is under way any more and the source has nothing left of one."""
        assert self.source
        self.source.wait()
        deadline = time.monotonic() + CLEAN_SECONDS
        while left := [*self.movers(), *self.source.leftovers().split()]:
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.3)

    def movers(self) -> list[str]:
        """Containers that move a database."""
        mine = [
            f"label=com.docker.compose.{each}" for each in (f"project={self.stack.name}", "service=mover")
        ]
        filters = [word for each in mine for word in ("--filter", each)]
        return self.stack.docker("ps", "--all", *filters, "--format", "{{.Names}}").split()

    def unseal(self) -> None:
        """Opens again what a live move has closed."""
        if self.source:
            for name in self.sealed():
                open_again(self.source, name)

    def sealed(self) -> list[str]:
        """Databases of the source that take no writes."""
        assert self.source
        return [name for name in DATABASES if self.source.psql(SEALED.format(name=name)) != "0\n"]

    def expected_roles(self) -> set[str]:
        """Those of the beginning, and those that came with what is live or kept."""
        return self.roles | {f"reader_{name}" for name in self.seen if name in DATABASES}

    # ---- kills ----

    def record(self, kill: Kill, hit: bool) -> None:
        """Remembers whether the kill hit something alive, at whichever try."""
        self.hits[kill.victim, hit] += 1


def shares(hits: Counter[tuple[str, bool]]) -> list[str]:
    """How many kills hit, as lines: one for each victim and one for all."""
    victims = sorted({victim for victim, _ in hits})
    lines = [f"{name}: {hits[name, True]} of {hits[name, True] + hits[name, False]}" for name in victims]
    hit = sum(hits[name, True] for name in victims)
    return [*lines, f"all: {hit} of {hits.total()} kills hit something alive"]


def complaint(hits: Counter[tuple[str, bool]]) -> str:
    """Why these kills prove nothing; empty when they do: of each victim more than half hit, of all four in five."""
    weak = sorted({victim for victim, _ in hits if hits[victim, True] <= hits[victim, False]})
    if weak:
        return f"kills of {', '.join(weak)} mostly missed"
    missed = sum(count for (_, hit), count in hits.items() if not hit)
    return "more than a fifth of the kills missed" if missed * 5 > hits.total() else ""
