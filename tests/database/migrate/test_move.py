"""Moves at rest, from real servers: equal to the last bit, refused with a reason, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.database.migrate.bare import PASSWORD, BareServer, docker
from tests.database.migrate.target import Moving, Target, flags
from tests.database.stack import CONTENT

pytestmark = pytest.mark.timeout(300, func_only=True)


@contextmanager
def moved_from(server: BareServer, database: str, *files: str, options: str = "") -> Iterator[str]:
    server.create(database, *files, options=options)
    try:
        yield database
    finally:
        server.drop(database)


def test_all_that_a_distributions_15_can_hold_arrives_equal_by_peer_over_a_socket(
    target: Target, socket_only: BareServer
) -> None:
    files = ("holdings.sql", "large_objects.sql", "distribution.sql")
    icu = "LOCALE_PROVIDER icu ICU_LOCALE 'de-DE'"
    with moved_from(socket_only, 'my "db" \\', *files, options=icu) as database:
        before = socket_only.psql(CONTENT, 'my "db" \\')
        told = json.loads(
            target.invoke(
                "bare-metal-migrate", *flags(socket_only, database, "peer"), "--yes", "--json"
            ).stdout
        )
        assert target.content() == before
        assert target.definitions() == target.definitions_of(socket_only, database)
        assert socket_only.psql(CONTENT, 'my "db" \\') == before
    assert told["ok"]
    assert sorted(told["roles_made"]) == ['Odd "Owner"', "archivist", "nobody", "reader"]
    assert (
        target.psql("SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'wepppy'")
        == "i|de-DE\n"
    )
    assert target.psql("SHOW work_mem") == "9MB\n"
    assert json.loads(Path(told["report"]).read_text())["tables"]["public.run"]["rows"] == 5000
    assert target.leftovers() == []
    # And back again.
    target.invoke("db-rollback", "--yes")
    assert target.psql("SELECT id FROM before") == "1\n"


def test_a_16_on_localhost_moves_by_password_which_is_seen_nowhere(
    target: Target, localhost_only: BareServer
) -> None:
    with moved_from(localhost_only, "moving", "holdings.sql", "large_objects.sql") as database:
        seen = Watch(target)
        moving = Moving(target, *flags(localhost_only, database, "password"), "--yes")
        status = moving.wait()
        everything = [
            *seen.stop(),
            moving.output,
            *(each.read_text() for each in target.report_folder.iterdir()),
        ]
        assert status == 0, moving.output
        assert target.content() == localhost_only.psql(CONTENT, database)
        assert target.definitions() == target.definitions_of(localhost_only, database)
    assert any(f"--port {localhost_only.port}" in text for text in everything)
    assert seen.volumes
    assert not seen.volumes & set(docker("volume", "ls", "-q").split())
    assert all(PASSWORD not in text and json.dumps(PASSWORD)[1:-1] not in text for text in everything)


class Watch:
    """Looks again and again at every command line and every container of the project while a task runs."""

    def __init__(self, target: Target) -> None:
        self._texts: set[str] = set()
        # Where the mover keeps what it dumps.
        self.volumes: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(target,), daemon=True)
        self._thread.start()

    def _look(self, target: Target) -> None:
        while not self._ended.wait(0.05):
            self._texts.add(
                subprocess.run(
                    ["ps", "axeww", "-o", "args"], capture_output=True, text=True, check=False
                ).stdout
            )
            mine = f"label=com.docker.compose.project={target.name}"
            for name in docker("ps", "-aq", "--filter", mine, check=False).split():
                told = docker("inspect", name, check=False)
                self._texts.add(told + docker("logs", name, check=False))
                for each in json.loads(told or "[]"):
                    mounts = each.get("Mounts") or ()
                    self.volumes |= {mount["Name"] for mount in mounts if mount["Destination"] == "/work"}

    def stop(self) -> set[str]:
        self._ended.set()
        self._thread.join(30)
        return self._texts


def test_a_database_moves_by_trust_and_what_its_owner_may_not_read_is_named(
    target: Target, socket_only: BareServer
) -> None:
    with moved_from(socket_only, "plain") as database:
        socket_only.psql(
            "SET ROLE open; CREATE SCHEMA own; CREATE TABLE own.a AS SELECT generate_series(1, 99) g",
            database,
        )
        target.invoke("bare-metal-migrate", *flags(socket_only, database, "trust"), "--yes")
        assert target.psql("SELECT sum(g) FROM own.a") == "4950\n"
        socket_only.psql("CREATE TABLE public.secret (id int)", database)
        refused = target.invoke(
            "bare-metal-migrate", *flags(socket_only, database, "trust"), "--yes", check=False
        )
        assert refused.returncode == 4
        assert "open may not read public.secret" in refused.stderr


def test_a_dry_run_tells_the_plan_and_changes_nothing(target: Target, localhost_only: BareServer) -> None:
    with moved_from(localhost_only, "moving", "holdings.sql") as database:
        before = target.names()
        done = target.invoke(
            "bare-metal-migrate", *flags(localhost_only, database, "peer"), "--dry-run", "--json"
        )
        assert target.names() == before
    plan = json.loads(done.stdout)["plan"]
    assert plan["source"]["version"] // 10000 == 16
    assert plan["roles_to_make"] == ['Odd "Owner"', "archivist", "nobody", "reader"]
    assert plan["estimated_seconds"]["load"] > 0
    assert target.leftovers() == []


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"dbname": "nowhere"}, 4, 'database "nowhere" does not exist'),
        ({"user": "open"}, 4, "pg_hba.conf"),
        ({"port": "1"}, 4, "no server answers"),
        ({"port": "0"}, 2, "no port"),
        ({"password-file": "/no/such/file"}, 4, "cannot be read"),
    ],
)
def test_a_source_that_cannot_be_reached_is_refused_with_the_reason(
    target: Target, localhost_only: BareServer, changes: dict[str, str], status: int, words: str
) -> None:
    named = flags(localhost_only, "postgres", "password", **changes)
    done = target.invoke("bare-metal-migrate", *named, "--yes", check=False)
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    assert target.psql("SELECT id FROM before") == "1\n"
    assert target.leftovers() == []


def test_a_wrong_password_is_refused(target: Target, localhost_only: BareServer, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("something else\n")
    wrong.chmod(0o600)
    named = flags(localhost_only, "postgres", "password", **{"password-file": str(wrong)})
    done = target.invoke("bare-metal-migrate", *named, "--yes", check=False)
    assert done.returncode == 4
    assert "password authentication failed" in done.stderr


def test_a_newer_major_is_refused_with_the_reason(target: Target, image: None) -> None:
    newer = BareServer(18)
    try:
        done = target.invoke("bare-metal-migrate", *flags(newer, "postgres", "peer"), "--yes", check=False)
    finally:
        newer.stop()
    assert done.returncode == 4
    assert "the source is PostgreSQL 18 and the stack's server is 17" in done.stderr
    assert target.leftovers() == []


def test_a_source_that_is_written_meanwhile_is_not_switched_over_to_unless_by_force(
    target: Target, localhost_only: BareServer
) -> None:
    with moved_from(localhost_only, "moving", "holdings.sql") as database:
        moving = Moving(target, *flags(localhost_only, database, "peer"), "--yes")
        moving.wait_for("dumping")
        while moving.process.poll() is None:
            localhost_only.psql("INSERT INTO ddl_log (tag) VALUES ('meanwhile')", database)
        assert moving.wait() == 4, moving.output
        assert "the source was written during the move" in moving.output
        assert target.names() == (["wepppy"], ["wepppy"])
        assert target.leftovers() == []
        moving = Moving(target, *flags(localhost_only, database, "peer"), "--yes", "--force")
        moving.wait_for("dumping")
        localhost_only.psql("INSERT INTO ddl_log (tag) VALUES ('left behind')", database)
        assert moving.wait() == 0, moving.output
    assert target.psql("SELECT count(*) FROM ddl_log WHERE tag = 'left behind'") == "0\n"


def test_writes_to_another_database_of_the_server_do_not_hinder(
    target: Target, localhost_only: BareServer
) -> None:
    with (
        moved_from(localhost_only, "moving", "holdings.sql") as database,
        moved_from(localhost_only, "other") as other,
    ):
        localhost_only.psql("CREATE TABLE busy (id int)", other)
        moving = Moving(target, *flags(localhost_only, database, "peer"), "--yes")
        while moving.process.poll() is None:
            localhost_only.psql("INSERT INTO busy VALUES (1)", other)
        assert moving.wait() == 0, moving.output
        assert target.content() == localhost_only.psql(CONTENT, database)


def test_the_move_works_while_the_old_server_holds_the_stacks_own_port(
    target: Target, localhost_only: BareServer
) -> None:
    with moved_from(localhost_only, "moving", "holdings.sql") as database:
        target.compose("rm", "--stop", "--force", "postgres")
        task = Moving(
            target,
            *flags(localhost_only, database, "peer"),
            "--yes",
            PORT_POSTGRES=str(localhost_only.port),
        )
        assert task.wait() == 0, task.output
        assert f"port {localhost_only.port} is taken by" in task.output
        assert target.content() == localhost_only.psql(CONTENT, database)
