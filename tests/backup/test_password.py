"""Passwords at a server that asks for them: who logs in, who the program is there, and a new one for the role."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wepp_backup import password
from wepp_backup.app import App, Settings
from wepp_backup.enter import write_passfile
from wepp_backup.events import FAILED, REFUSED, USAGE, Problem, Reporter
from wepp_backup.server import Server, execute, value

from scripts.settings import scram
from tests.backup.conftest import start, stop

OLD, NEW = "a-very:secret\\word", "quite-another-word"
ASKS = "local all admin trust\nlocal all all scram-sha-256\n"


class Words:
    """A caller that says one thing."""

    def __init__(self, word: str) -> None:
        self.said = word

    def word(self) -> str:
        return self.said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket's folder of a server that asks everybody for a password, `admin` excepted."""
    made = tmp_path_factory.mktemp("asking")
    first = start(made)
    with first.connect("postgres") as session:
        execute(session, "CREATE ROLE admin SUPERUSER LOGIN")
        (made / "data" / "pg_hba.conf").write_text(ASKS)
        execute(session, "SELECT pg_reload_conf()")
    yield made
    stop(made)


@pytest.fixture
def admin(folder: Path) -> Server:
    """Roles `wepppy` and `postgres` have their passwords."""
    server = Server(str(folder), "5432", "admin")
    with server.connect("postgres") as session:
        execute(
            session,
            f"ALTER ROLE wepppy PASSWORD '{scram.verifier(OLD)}'; DROP ROLE IF EXISTS postgres; "
            f"CREATE ROLE postgres SUPERUSER LOGIN PASSWORD '{scram.verifier(NEW)}'",
        )
    return server


def app_at(server: Server, tmp_path: Path, word: object = "", **variables: str) -> App:
    """The program in a container whose secret is OLD."""
    passfile = tmp_path / "pgpass"
    write_passfile(passfile, {"wepppy": OLD, "postgres": NEW})
    environment = {"PGHOST": server.host, "PGPASSFILE": str(passfile), **variables}
    text = word if isinstance(word, str) else json.dumps(word)
    report = Reporter(io.StringIO(), as_json=True)
    return App(Settings(environment), report, Words(text))  # type: ignore[arg-type]


def said(app: App) -> Any:
    assert isinstance(app.report.out, io.StringIO)
    return json.loads(app.report.out.getvalue().splitlines()[-1])["answer"]


def logs_in(server: Server, word: str) -> bool:
    try:
        Server(server.host, server.port, "wepppy").connect("postgres", password=word).close()
    except Problem:
        return False
    return True


def test_each_password_that_logs_in_is_told_from_those_that_do_not(admin: Server, tmp_path: Path) -> None:
    app = app_at(admin, tmp_path, {"passwords": [NEW, OLD]})
    password.run_login(app, Namespace(superuser=False))
    assert said(app) == {"own": True, "why": "", "given": [False, True]}


def test_the_superusers_password_is_tried_as_the_superuser(admin: Server, tmp_path: Path) -> None:
    app = app_at(admin, tmp_path, {"passwords": [NEW, OLD]}, WEPP_SUPERUSER="postgres")
    password.run_login(app, Namespace(superuser=True))
    assert said(app) == {"own": True, "why": "", "given": [True, False]}


def test_why_the_containers_own_password_does_not_log_in_is_told(admin: Server, tmp_path: Path) -> None:
    app = app_at(admin, tmp_path, {"passwords": []})
    write_passfile(tmp_path / "pgpass", {"wepppy": "wrong"})
    password.run_login(app, Namespace(superuser=False))
    assert not said(app)["own"]
    assert "password authentication failed" in said(app)["why"]


def test_a_server_that_does_not_answer_says_nothing_about_a_password(tmp_path: Path) -> None:
    app = app_at(Server(str(tmp_path), "5432", ""), tmp_path, {"passwords": [OLD]})
    with pytest.raises(Problem, match="no server answers") as told:
        password.run_login(app, Namespace(superuser=False))
    assert told.value.exit_code == FAILED


def test_a_server_that_takes_nobody_from_here_says_nothing_about_a_password(
    folder: Path, admin: Server, tmp_path: Path
) -> None:
    file = folder / "data" / "pg_hba.conf"
    with admin.connect("postgres") as session:
        file.write_text("local all admin trust\n")
        execute(session, "SELECT pg_reload_conf()")
        try:
            with pytest.raises(Problem, match=r"pg_hba\.conf"):
                password.run_login(app_at(admin, tmp_path, {"passwords": [OLD]}), Namespace(superuser=False))
        finally:
            file.write_text(ASKS)
            execute(session, "SELECT pg_reload_conf()")


def test_the_role_gets_another_password_by_its_verifier_alone(admin: Server, tmp_path: Path) -> None:
    word = {"passwords": ["wrong", OLD], "verifier": scram.verifier(NEW)}
    app = app_at(admin, tmp_path, word)
    password.run_password(app, Namespace())
    assert said(app) == "wepppy"
    assert logs_in(admin, NEW)
    assert not logs_in(admin, OLD)


def test_without_a_password_that_logs_in_nothing_changes(admin: Server, tmp_path: Path) -> None:
    app = app_at(admin, tmp_path, {"passwords": ["wrong"], "verifier": scram.verifier(NEW)})
    with pytest.raises(Problem, match="refuses the password of wepppy") as told:
        password.run_password(app, Namespace())
    assert told.value.exit_code == REFUSED
    assert logs_in(admin, OLD)


@pytest.mark.parametrize(
    "word",
    ["", "go", '"text"', '{"passwords": "abc"}', {"passwords": [OLD]},
     {"passwords": [OLD], "verifier": NEW}, {"passwords": [OLD], "verifier": 7}],
)  # fmt: skip
def test_a_word_of_another_kind_is_refused_and_not_repeated(
    admin: Server, tmp_path: Path, word: object
) -> None:
    with pytest.raises(Problem) as told:
        password.run_password(app_at(admin, tmp_path, word), Namespace())
    assert told.value.exit_code == USAGE
    assert OLD not in f"{told.value}{told.value.fix}"
    assert NEW not in f"{told.value}{told.value.fix}"
    assert logs_in(admin, OLD)


def test_the_program_is_the_superuser_where_that_role_takes_its_password(
    admin: Server, tmp_path: Path
) -> None:
    app = app_at(admin, tmp_path, WEPP_SUPERUSER="postgres")
    with app.server.connect("postgres") as session:
        assert value(session, "SELECT session_user::text") == "postgres"
    with app.application.connect("postgres") as session:
        assert value(session, "SELECT session_user::text") == "wepppy"


@pytest.mark.parametrize("missing", ["role", "password"])
def test_the_program_is_the_applications_role_where_the_superuser_is_not_ours(
    admin: Server, tmp_path: Path, missing: str
) -> None:
    app = app_at(admin, tmp_path, WEPP_SUPERUSER="postgres")
    if missing == "role":
        with admin.connect("postgres") as session:
            execute(session, "DROP ROLE postgres")
    else:
        write_passfile(tmp_path / "pgpass", {"wepppy": OLD})
    assert app.server.user == "wepppy"


def test_a_server_that_is_away_is_not_taken_for_one_without_a_superuser(tmp_path: Path) -> None:
    app = app_at(Server(str(tmp_path), "5432", ""), tmp_path, WEPP_SUPERUSER="postgres")
    with pytest.raises(Problem, match="no server answers"):
        _ = app.server
