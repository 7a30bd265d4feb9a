"""A server that others run on another machine (POSTGRES_HOST), whose superuser the stack is not: every task works."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from scripts.base.host import free_port_numbers
from tests.containers import base_images
from tests.database.sidecar import until
from tests.database.stack import CONTENT, LightStack
from tests.engine.lifetime import own_stack
from tests.engine.stack import ROOT

ADMIN = "the-other-machines-own"


@dataclass
class Distant(LightStack):
    """A stack without a server of its own."""

    services: tuple[str, ...] = ("redis", "weppcloud", "postgres-backup")

    @property
    def other(self) -> str:
        """The container that stands for the other machine."""
        return f"{self.name}-other-machine"

    def psql(self, sql: str, database: str = "", *, check: bool = True) -> str:
        """Asks the other machine's server as its superuser."""
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"]
        return self.docker(
            "exec", "-i", self.other, *command, "-d", database or "wepppy", stdin=sql, check=check
        )


@pytest.fixture(scope="module")
def distant() -> Iterator[Distant]:
    (port,) = free_port_numbers(1)
    elsewhere = {"POSTGRES_HOST": "host.docker.internal", "POSTGRES_PORT": port}
    with own_stack(
        Distant, "distant", COMPOSE_PROFILES="", BACKUP_DRILL_INTERVAL_SECONDS="0", **elsewhere
    ) as made:
        template = "{{range .IPAM.Config}}{{.Gateway}}{{end}}"
        gateway = made.docker("network", "inspect", "bridge", "--format", template).strip()
        made.docker(
            "run", "--detach", "--name", made.other, "--publish", f"{gateway}:{port}:5432",
            "--env", f"POSTGRES_PASSWORD={ADMIN}", base_images()["POSTGRES_IMAGE"],
        )  # fmt: skip
        try:
            until(lambda: made.psql("SELECT 1", "postgres", check=False), "the other machine's server")
            password = made.secret("postgres_password")
            made.psql(f"CREATE ROLE wepppy LOGIN CREATEDB PASSWORD '{password}'", "postgres")
            made.psql("CREATE DATABASE wepppy OWNER wepppy", "postgres")
            made.must("compose-up", f"--services={','.join(made.services)}", timeout=1500)
            yield made
        finally:
            made.docker("rm", "--force", "--volumes", made.other, check=False)


def test_a_backup_is_restored_there_and_the_restore_undone(distant: Distant) -> None:
    distant.psql("SET ROLE wepppy; CREATE TABLE kept AS SELECT generate_series(1, 100) n")
    before = distant.psql(CONTENT)
    name = json.loads(distant.must("db-backup", "--json"))["name"]
    distant.must("db-verify", f"--dump={name}", "--drill")
    distant.psql("DELETE FROM kept")
    emptied = distant.psql(CONTENT)
    distant.must("db-restore", "--dump=latest", "--yes")
    assert distant.psql(CONTENT) == before
    distant.must("db-rollback", "--yes")
    assert distant.psql(CONTENT) == emptied
    assert distant.left_behind() == []
    distant.must("db-prune", "--keep-days=0", "--yes")
    assert distant.databases() == ["wepppy"]
    assert distant.down() == []


def test_the_password_is_changed_there_and_here_together(distant: Distant) -> None:
    old = distant.secret("postgres_password")
    distant.must("db-rotate-password", "--yes")
    new = distant.secret("postgres_password")
    assert new != old
    assert distant.down() == []
    distant.must("db-backup")
    # Another role's password is nobody's business.
    assert distant.psql("SELECT rolname FROM pg_roles WHERE rolsuper", "postgres") == "postgres\n"


def test_a_role_that_may_make_no_databases_is_refused_with_the_statement_that_fixes_it(
    distant: Distant,
) -> None:
    distant.must("db-backup")
    distant.psql("ALTER ROLE wepppy NOCREATEDB")
    try:
        refused = distant.task("db-restore", "--dump=latest", "--yes")
        assert refused.returncode == 4, refused.stderr
        assert "ALTER ROLE wepppy CREATEDB" in refused.stderr
        assert distant.down() == []
        found = json.loads(distant.task("doctor", "--json").stdout)["findings"]
        assert [each["fix"] for each in found if each["check"] == "database roles"] == [
            "have its administrator run: ALTER ROLE wepppy CREATEDB"
        ]
    finally:
        distant.psql("ALTER ROLE wepppy CREATEDB")


def test_sql_from_a_pipe_is_run_there(distant: Distant) -> None:
    asked = "SELECT 'role ' || current_user || ' in ' || current_database()"
    done = subprocess.run(
        ["invoke", "db-shell"], cwd=ROOT, env=distant.task_environment, input=asked,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "role wepppy in wepppy" in done.stdout


def test_a_server_that_is_away_is_told_and_nothing_of_the_stack_stops(distant: Distant) -> None:
    distant.docker("stop", "-t", "5", distant.other)
    try:
        for task in (["db-backup"], ["db-restore", "--dump=latest", "--yes"], ["db-rollback", "--yes"]):
            done = distant.task(*task)
            assert done.returncode == 4, done.stderr
            assert "no server answers at host.docker.internal" in done.stderr
    finally:
        distant.docker("start", distant.other)
        until(lambda: distant.psql("SELECT 1", check=False), "the other machine's server")
    distant.wait_until_idle()
