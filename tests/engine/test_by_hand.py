"""The lines that operators have written down, typed as they are, from the repository's root."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.settings import secret_ids
from tests.engine.secret_search import found_in_layers, images, places, secrets_of
from tests.engine.stack import ROOT, Stack

DEV = "docker/docker-compose.dev.yml"


def test_compose_by_hand_sees_the_stack_with_and_without_a_file(stack: Stack) -> None:
    with_file = stack.compose("-f", DEV, "ps", "--services").stdout.split()
    without = stack.compose("ps", "--services").stdout.split()
    assert sorted(with_file) == sorted(without)
    assert "weppcloud" in with_file


def test_compose_by_hand_finds_its_settings_by_itself(stack: Stack, attached: bool) -> None:
    if not attached and not (ROOT / ".env").exists():
        pytest.skip("the repository's own .env is not there; the smoke stack's is elsewhere")
    for files in ([], ["-f", DEV], ["--env-file", "docker/.env", "-f", DEV]):
        done = subprocess.run(
            ["docker", "compose", *files, "config", "-q"], cwd=ROOT, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_psql_works_in_the_database_container(stack: Stack) -> None:
    done = stack.compose(
        "-f", DEV, "exec", "-T", "postgres", "psql", "-U", "wepppy", "-d", "wepppy", "-Atc", "select 41+1"
    )
    assert done.stdout.strip() == "42"


def test_backups_are_listed_by_the_plans_line(stack: Stack) -> None:
    listing = stack.compose("exec", "-T", "postgres-backup", "ls", "-l", "/backups").stdout
    assert "wepppy-" in listing
    assert ".dump" in listing


def test_an_ad_hoc_snapshot_is_written_by_the_plans_line(stack: Stack) -> None:
    line = (
        'pg_dump -h "$PGHOST" -U "$PGUSER" -d "$PGDATABASE" -Fc '
        '-f "/backups/wepppy-manual-$(date +%Y%m%d-%H%M%S).dump"'
    )
    stack.compose("run", "--rm", "-T", "postgres-backup", "bash", "-lc", line)
    listing = stack.compose("exec", "-T", "postgres-backup", "ls", "/backups").stdout
    assert "wepppy-manual-" in listing


def test_a_backup_of_the_sidecar_is_copied_in_and_read_by_the_plans_lines(stack: Stack) -> None:
    backups = stack.env_file.parent / "postgres-backups"
    dump = next(path for path in backups.glob("wepppy-2*.dump"))
    stack.compose("-f", DEV, "cp", str(dump), "postgres:/tmp/restore.dump")
    read = "pg_restore -f /dev/null /tmp/restore.dump"
    stack.compose("-f", DEV, "exec", "-T", "postgres", "bash", "-lc", read)
    stack.compose("-f", DEV, "exec", "-T", "postgres", "rm", "/tmp/restore.dump")


def test_docker_cp_reaches_the_database_by_its_fixed_name(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "wepppy.sql").write_text("select 1;\n")
    subprocess.run(
        ["docker", "cp", str(tmp_path / "wepppy.sql"), f"{stack.name}-postgres:/tmp/wepppy.sql"], check=True
    )
    done = stack.compose(
        "-f", DEV, "exec", "-T", "postgres", "psql", "-U", "wepppy", "-d", "wepppy", "-f", "/tmp/wepppy.sql"
    )
    assert "(1 row)" in done.stdout


def test_the_schema_is_upgraded_by_the_plans_line_a_second_time_without_change(stack: Stack) -> None:
    revisions = "select version_num from alembic_version"
    before = stack.compose(
        "exec", "-T", "postgres", "psql", "-U", "wepppy", "-d", "wepppy", "-Atc", revisions
    ).stdout
    stack.compose("run", "--rm", "-T", "weppcloud", "flask", "db", "upgrade")
    after = stack.compose(
        "exec", "-T", "postgres", "psql", "-U", "wepppy", "-d", "wepppy", "-Atc", revisions
    ).stdout
    assert before == after
    assert len(after.split()) == 1


def test_no_secret_is_seen_in_containers_images_model_processes_or_logs(stack: Stack) -> None:
    secrets = secrets_of(stack)
    assert secrets.keys() == {each.id for each in secret_ids.ALL if each.generate}
    assert places(stack, secrets, layers=True) == {}


def test_what_is_there_is_found_by_that_search(stack: Stack) -> None:
    found = places(stack, {"variable": "POSTGRES_PASSWORD_FILE", "program": "gunicorn"})
    assert {"docker inspect", "docker compose config", "invoke compose-config"} <= found["variable"]
    assert {"cmdline of gunicorn", "docker inspect"} <= found["program"]
    assert any(place.startswith("environ of ") for place in found["variable"])
    assert any(place.startswith("docker logs ") for place in found["program"])
    assert found_in_layers(images(stack)[:1], {"variable": b"PATH="}) == {"variable"}
