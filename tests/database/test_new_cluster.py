"""A new volume: the application's role is no superuser, whatever interrupts the first start; an old one goes on."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import ROOT, base_images

APPLICATION, SUPERUSER = 'the application\'s "word"', "the-superusers-word"
ROLES = (
    "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1"
)
OWNER = "SELECT pg_get_userbyid(datdba), datcollate FROM pg_database WHERE datname = 'wepppy'"
READY_SECONDS = 60.0
# Where the first start, of about two seconds, is interrupted.
KILLS = [0.05 + 0.15 * number for number in range(16)]


def docker(*arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, text=True, check=check, timeout=120
    )


class Cluster:
    """A volume, and a container of the stack's image (or another) on it."""

    def __init__(self, image: str, folder: Path) -> None:
        self.image = image
        self.name = f"wepp-new-cluster-{uuid.uuid4().hex[:8]}"
        for name, word in (("postgres_password", APPLICATION), ("postgres_superuser_password", SUPERUSER)):
            (folder / name).write_text(word)
        self.secrets = folder

    def start(self, image: str = "", **variables: str) -> None:
        chosen = {
            "POSTGRES_USER": "wepppy",
            "POSTGRES_DB": "wepppy",
            "POSTGRES_PASSWORD_FILE": "/run/secrets/postgres_password",
            "POSTGRES_SUPERUSER_PASSWORD_FILE": "/run/secrets/postgres_superuser_password",
            "POSTGRES_INITDB_ARGS": "--data-checksums --encoding=UTF8 --locale=C.UTF-8",
            "PGDATA": "/var/lib/postgresql/data",
            **variables,
        }
        docker(
            "run", "--detach", "--name", self.name, "--user", "999:999", "--cap-drop", "ALL", "--read-only",
            "--network", "none", "--volume", f"{self.name}:/var/lib/postgresql/data",
            "--volume", f"{self.secrets}:/run/secrets:ro", "--tmpfs", "/tmp:mode=777",
            "--tmpfs", "/var/run/postgresql:uid=999,gid=999,mode=3775",
            *(part for key, value in chosen.items() for part in ("--env", f"{key}={value}")), image or self.image,
        )  # fmt: skip

    def stop(self, signal: str = "KILL") -> None:
        """Takes the container away; the volume stays."""
        docker("kill", "--signal", signal, self.name, check=False)
        docker("rm", "--force", self.name)

    def remove(self) -> None:
        self.stop()
        docker("volume", "rm", "--force", self.name)

    def psql(self, sql: str, user: str = "wepppy", *, check: bool = True) -> str:
        """What a client in the container hears, its complaint where it is allowed to fail."""
        self.wait()
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", "wepppy", "-h", "127.0.0.1"]
        done = docker("exec", "-i", self.name, *command, stdin=sql, check=check)
        return done.stdout if check else done.stdout + done.stderr

    def wait(self) -> None:
        """Returns when the server answers over TCP."""
        deadline = time.monotonic() + READY_SECONDS
        while docker("exec", self.name, "pg_isready", "-q", "-h", "127.0.0.1", check=False).returncode:
            assert time.monotonic() < deadline, docker("logs", self.name, check=False).stderr
            time.sleep(0.1)


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The stack's image of the server."""
    name = f"wepp-new-cluster-{uuid.uuid4().hex[:8]}"
    chosen = base_images()["POSTGRES_IMAGE"]
    folder = str(ROOT / "docker" / "postgres")
    docker("build", "--quiet", "--tag", name, "--build-arg", f"POSTGRES_IMAGE={chosen}", folder)
    yield name
    docker("image", "rm", name)


@pytest.fixture
def cluster(image: str, tmp_path: Path) -> Iterator[Cluster]:
    tmp_path.chmod(0o755)
    made = Cluster(image, tmp_path)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def attacked(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that the statements of all attacks come to."""
    folder = tmp_path_factory.mktemp("attacked")
    for each in (folder, folder.parent):
        each.chmod(0o755)
    made = Cluster(image, folder)
    made.start()
    made.psql("CREATE TABLE taken (line text)")
    yield made
    made.remove()


def test_the_application_owns_its_database_and_is_no_superuser(cluster: Cluster) -> None:
    cluster.start()
    assert cluster.psql(ROLES) == "postgres|t|t|t\nwepppy|f|f|f\n"
    assert cluster.psql(OWNER) == "wepppy|C.UTF-8\n"
    assert cluster.psql("SHOW data_checksums") == "on\n"
    cluster.psql("CREATE TABLE public.runs (id int); CREATE SCHEMA more; CREATE EXTENSION pg_trgm")


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO PROGRAM 'id >/tmp/taken'",
        "COPY taken FROM PROGRAM 'id'",
        "COPY taken FROM '/run/secrets/postgres_superuser_password'",
        "SELECT pg_read_file('/run/secrets/postgres_password')",
        "SELECT lo_import('/run/secrets/postgres_password')",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_ls_dir('/run/secrets')",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "ALTER ROLE wepppy SUPERUSER",
        "CREATE ROLE other SUPERUSER",
        "GRANT pg_execute_server_program TO wepppy",
        "ALTER SYSTEM SET archive_command = 'id'",
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION file_fdw",
        "CREATE FUNCTION run(text) RETURNS int AS '/lib/x86_64-linux-gnu/libc.so.6', 'system' LANGUAGE c",
        "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 user=postgres' PUBLICATION p",
    ],
)
def test_what_somebody_makes_the_application_say_reaches_neither_files_nor_programs(
    attacked: Cluster, statement: str
) -> None:
    told = attacked.psql(statement, check=False)
    assert "ERROR" in told
    assert "permission denied" in told or "must be" in told or "nly roles with" in told, told
    assert docker("exec", attacked.name, "test", "-e", "/tmp/taken", check=False).returncode
    assert attacked.psql("SELECT count(*) FROM taken") == "0\n"
    assert attacked.psql(ROLES) == "postgres|t|t|t\nwepppy|f|f|f\n"


def test_each_role_logs_in_with_its_own_password_from_outside(cluster: Cluster) -> None:
    cluster.start()
    cluster.wait()
    address = docker("exec", cluster.name, "cat", "/var/lib/postgresql/data/pg_hba.conf").stdout
    assert [line.split() for line in address.splitlines() if line.startswith("host all all all")] == [
        ["host", "all", "all", "all", "scram-sha-256"]
    ]
    verifiers = cluster.psql(
        "SELECT rolname, rolpassword FROM pg_authid WHERE rolcanlogin ORDER BY 1", "postgres"
    )
    from scripts.settings import scram

    found = dict(line.split("|", 1) for line in verifiers.splitlines())
    assert scram.fits(APPLICATION, found["wepppy"])
    assert scram.fits(SUPERUSER, found["postgres"])
    log = docker("logs", cluster.name)
    assert APPLICATION not in log.stdout + log.stderr
    assert SUPERUSER not in log.stdout + log.stderr


def test_whenever_the_first_starts_are_killed_the_next_makes_a_whole_cluster(cluster: Cluster) -> None:
    for seconds in KILLS:
        cluster.start()
        time.sleep(seconds)
        cluster.stop()
    cluster.start()
    assert cluster.psql(ROLES) == "postgres|t|t|t\nwepppy|f|f|f\n"
    cluster.psql("CREATE TABLE kept AS SELECT 1 AS n")
    # What is made then stays.
    cluster.stop()
    cluster.start()
    assert cluster.psql("SELECT n FROM kept") == "1\n"


def test_a_first_start_can_be_stopped(cluster: Cluster) -> None:
    cluster.start()
    time.sleep(0.5)
    docker("stop", "--time", "60", cluster.name)
    state = docker("inspect", "--format", "{{.State.ExitCode}}", cluster.name).stdout
    assert state != "137\n"


def test_a_volume_that_an_images_own_entry_point_made_goes_on_as_it_is(cluster: Cluster) -> None:
    cluster.start(base_images()["POSTGRES_IMAGE"])
    cluster.psql("CREATE TABLE kept AS SELECT 1 AS n")
    cluster.stop("INT")
    cluster.start()
    assert cluster.psql(ROLES) == "wepppy|t|t|t\n"
    assert cluster.psql("SELECT n FROM kept") == "1\n"


def test_a_folder_with_something_else_in_it_is_left_alone(cluster: Cluster) -> None:
    fill = ["--entrypoint", "sh", cluster.image, "-c", "echo mine >/var/lib/postgresql/data/mine"]
    docker("run", "--rm", "--volume", f"{cluster.name}:/var/lib/postgresql/data", *fill)
    cluster.start()
    docker("wait", cluster.name)
    assert "not empty but has no PG_VERSION" in docker("logs", cluster.name).stderr
    look = ["--entrypoint", "ls", cluster.image, "-A", "/var/lib/postgresql/data"]
    assert (
        docker("run", "--rm", "--volume", f"{cluster.name}:/var/lib/postgresql/data", *look).stdout
        == "mine\n"
    )


def test_scripts_beside_the_image_are_run_by_the_superuser(image: str, cluster: Cluster) -> None:
    folder = cluster.secrets / "initdb.d"
    folder.mkdir()
    (folder / "extension.sql").write_text("CREATE EXTENSION dblink;\n")
    (folder / "Dockerfile").write_text(f"FROM {image}\nCOPY extension.sql /docker-entrypoint-initdb.d/\n")
    own = f"{cluster.name}-own"
    docker("build", "--quiet", "--tag", own, str(folder))
    try:
        cluster.start(own)
        assert cluster.psql("SELECT extname FROM pg_extension ORDER BY 1") == "dblink\nplpgsql\n"
    finally:
        cluster.stop()
        docker("image", "rm", own)
