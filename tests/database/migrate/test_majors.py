"""Majors: what 12 to 17 hold comes into 18, by a move or by a dump; nothing goes the other way."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database.migrate.bare import FOLDER, OLDER, BareServer, docker
from tests.database.migrate.target import SERVICES, Target, flags
from tests.database.stack import CONTENT
from tests.engine.lifetime import own_stack

# No restore test comes in between.
SETTINGS = {"POSTGRES_IMAGE": "postgres:18-trixie", "BACKUP_DRILL_INTERVAL_SECONDS": "0"}


@pytest.fixture(scope="module")
def shared_eighteen() -> Iterator[Target]:
    """A stack whose server, sidecar and clients are 18, chosen by POSTGRES_IMAGE alone."""
    with own_stack(Target, "eighteen", SERVICES, **SETTINGS) as made:
        yield made


@pytest.fixture
def eighteen(shared_eighteen: Target) -> Target:
    """The stack of 18, its database as good as empty."""
    shared_eighteen.reset()
    return shared_eighteen


def dumped(stack: Target, name: str) -> Path:
    """A dump of a stack's database by its own major's program."""
    docker(
        "exec",
        f"{stack.name}-postgres-backup-1",
        "pg_dump",
        "-U",
        "postgres",
        "-Fc",
        "-f",
        f"/backups/{name}",
    )
    return stack.env_file.parent / "postgres-backups" / name


def test_a_dump_of_17_comes_into_18_and_one_of_18_is_refused_by_17(
    eighteen: Target, target: Target, tmp_path: Path
) -> None:
    target.psql((FOLDER / "holdings.sql").read_text())
    before = target.content()
    older = shutil.copy(dumped(target, "of-17.dump"), tmp_path / "of-17.dump")
    missing = eighteen.invoke("db-restore", f"--dump={older}", "--yes", check=False)
    assert missing.returncode == 4
    assert "roles that this server does not have" in missing.stderr
    make_roles(eighteen)
    eighteen.invoke("db-restore", f"--dump={older}", "--yes", "--force")
    assert eighteen.psql("SHOW server_version_num").startswith("18")
    assert eighteen.content() == before
    newer = shutil.copy(dumped(eighteen, "of-18.dump"), tmp_path / "of-18.dump")
    refused = target.invoke("db-restore", f"--dump={newer}", "--yes", check=False)
    assert refused.returncode == 4
    assert "comes from PostgreSQL 18 and this server is 17" in refused.stderr
    assert "set POSTGRES_IMAGE to major 18" in refused.stderr
    assert target.content() == before


def make_roles(stack: Target) -> None:
    """The roles that the holdings' things belong to."""
    stack.psql(
        'CREATE ROLE "Odd ""Owner"""; CREATE ROLE archivist; CREATE ROLE reader; CREATE ROLE nobody SUPERUSER'
    )


@pytest.mark.parametrize("major", [15, 16, 17])
def test_a_server_of_each_major_moves_into_18(eighteen: Target, image: None, major: int) -> None:
    move(BareServer(major), eighteen)


def test_a_server_of_17_moves_into_17(target: Target) -> None:
    move(BareServer(17), target)


def test_a_live_server_of_17_moves_into_18(eighteen: Target) -> None:
    move(BareServer(17, settings={"wal_level": "logical"}), eighteen, "--live")


@pytest.mark.full
@pytest.mark.parametrize("options", [(), ("--live",)], ids=["offline", "live"])
@pytest.mark.parametrize("major", [*OLDER, 18])
def test_the_oldest_servers_and_one_of_18_move_into_18(
    eighteen: Target, image: None, older_image: None, major: int, options: tuple[str, ...]
) -> None:
    move(BareServer(major, settings={"wal_level": "logical"}), eighteen, *options)


def move(server: BareServer, stack: Target, *options: str) -> None:
    """Moves one of everything; all of it is there afterwards."""
    live = "--live" in options
    try:
        server.create("moving", "holdings.sql", *([] if live else ["large_objects.sql"]))
        # An option that somebody has set beside the number that the server keeps there itself.
        server.psql("ALTER TABLE run ALTER COLUMN name SET (n_distinct = 77)", "moving")
        before = server.psql(CONTENT, "moving"), definitions(stack.definitions_of(server, "moving"))
        stack.invoke("bare-metal-migrate", *flags(server, "moving", "peer"), "--yes", *options)
        after = stack.content(), definitions(stack.definitions())
        assert (rows(after[0], live), after[1]) == (rows(before[0], live), before[1])
    finally:
        server.stop()


def rows(content: str, live: bool) -> list[str]:
    """What a database holds, without what a live move changes: the source's event trigger records the publication, and
    materialised views are computed anew (sums of floats depend on the order)."""
    changed = ("public.ddl_log|", "ddl_log_id_seq|", "public.flow_by_day|", "public.wettest|") if live else ()
    return [line for line in content.splitlines() if not line.startswith(changed)]


def definitions(statements: list[str]) -> list[str]:
    """Statements without what servers from 17.12 on write for themselves in the options of each column."""
    texts = (re.sub(r"pg_attver=\d+(, )?", "", line) for line in statements)
    return [line for line in texts if not line.endswith(" SET ();")]


def test_a_dump_of_16_comes_into_18(eighteen: Target, image: None, tmp_path: Path) -> None:
    server = BareServer(16)
    try:
        server.create("wepppy", "holdings.sql", "large_objects.sql")
        before = server.psql(CONTENT, "wepppy"), eighteen.definitions_of(server, "wepppy")
        dump = tmp_path / "of-16.dump"
        dump.write_bytes(server.dumped("wepppy", "-Fc"))
        make_roles(eighteen)
        eighteen.psql("CREATE ROLE open")
        eighteen.invoke("db-restore", f"--dump={dump}", "--yes", "--force")
        assert (eighteen.content(), eighteen.definitions()) == before
    finally:
        server.stop()


def test_a_dump_that_an_older_program_made_of_a_server_of_17_comes_into_18(
    eighteen: Target, tmp_path: Path
) -> None:
    server = BareServer(17)
    try:
        server.create("wepppy", "holdings.sql", "large_objects.sql")
        before = server.psql(CONTENT, "wepppy")
        make_roles(eighteen)
        for name, options in {"a.dump": ["-Fc"], "a.tar": ["-Ft"], "a.sql": []}.items():
            dump = tmp_path / name
            dump.write_bytes(server.dumped_by(eighteen.image, "wepppy", *options))
            eighteen.invoke("db-restore", f"--dump={dump}", "--yes", "--force")
            assert eighteen.content() == before
    finally:
        server.stop()


def test_a_server_of_another_major_is_not_put_before_the_files(target: Target, eighteen: Target) -> None:
    text = target.env_file.read_text()
    docker("tag", f"{target.name}-postgres:dev", f"{target.name}-postgres:kept")
    try:
        docker("tag", f"{eighteen.name}-postgres:dev", f"{target.name}-postgres:dev")
        done = target.invoke("compose-up", f"--services={SERVICES}", check=False)
        assert done.returncode == 3
        assert "are PostgreSQL 17's and the image is 18" in done.stderr
        # The one that ran runs on.
        assert target.psql("SELECT id FROM before") == "1\n"
        assert target.env_file.read_text() == text
    finally:
        docker("tag", f"{target.name}-postgres:kept", f"{target.name}-postgres:dev")
        docker("rmi", f"{target.name}-postgres:kept")
    target.invoke("compose-up", f"--services={SERVICES}")
