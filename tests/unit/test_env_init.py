"""A `.env` is made once, with good secrets, and is then the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.prepare import env_init
from scripts.settings import envfile
from tests.unit.fakes import Checkout, Screen


def test_a_new_file_has_secrets_beside_it_owner_and_mode_and_keeps_the_comments(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    written = env_init.initialise(checkout.compose())
    env = envfile.read(tmp_path / ".env")
    assert written.created
    assert not env.problems
    assert len((tmp_path / ".docker-data" / "secrets" / "postgres_password").read_text()) >= 43
    assert int(env.values["UID"]) > 0
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert "# Name of the stack." in (tmp_path / ".env").read_text()


def test_the_owner_of_a_new_file_is_the_user_that_containers_run_as(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    env_init.initialise(checkout.compose())
    uid = int(envfile.read(tmp_path / ".env").values["UID"])
    assert (tmp_path / ".env").stat().st_uid == uid


def test_behind_sudo_the_person_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "getgid", lambda: 0)
    assert env_init.owner_of_caller({"SUDO_UID": "1234", "SUDO_GID": "5678"}) == (1234, 5678)
    assert env_init.owner_of_caller({}) == (1000, 1000)
    assert env_init.owner_of_caller({"SUDO_UID": "0", "SUDO_GID": "0"}) == (1000, 1000)


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    path = checkout.with_env(COMPOSE_PROFILES="")
    before = path.read_bytes()
    written = env_init.initialise(checkout.compose(), free_ports=True)
    assert not written.created
    assert written.added == ()
    assert path.read_bytes() == before


def test_a_second_call_adds_new_keys_only_and_says_so(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    path = checkout.with_env(COMPOSE_PROFILES="")
    with (tmp_path / ".env.example").open("a") as example:
        example.write("NEW_KEY=new\n")
    written = env_init.initialise(checkout.compose())
    env = envfile.read(path)
    assert written.added == ("NEW_KEY",)
    assert env.values["NEW_KEY"] == "new"
    assert env.values["COMPOSE_PROFILES"] == ""
    screen = Screen()
    env_init.tell(screen.console, written, free_ports=False)
    assert "kept; added what it lacked" in screen.err.getvalue()


def test_a_malformed_file_is_left_as_it_is(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    (tmp_path / ".env").write_text("TITLE='open\n")
    with pytest.raises(StackError, match="line 1 is malformed"):
        env_init.initialise(checkout.compose())
    assert (tmp_path / ".env").read_text() == "TITLE='open\n"


def test_secrets_are_kept_when_env_is_written_anew(tmp_path: Path) -> None:
    """The database still has the old password; a fresh one would lock everybody out."""
    checkout = Checkout(tmp_path)
    folder = tmp_path / ".docker-data" / "secrets"
    folder.mkdir(parents=True)
    (folder / "postgres_password").write_text("the-old-one")
    (folder / "secret_key").write_text("under-its-older-name")
    written = env_init.initialise(checkout.compose())
    assert (folder / "postgres_password").read_text() == "the-old-one"
    assert (folder / "flask_secret_key").read_text() == "under-its-older-name"
    assert written.secrets
    assert written.secrets.taken == ("flask_secret_key",)


def test_free_ports_are_all_different_and_other_keys_stay(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    env_init.initialise(checkout.compose(), free_ports=True)
    values = envfile.read(tmp_path / ".env").values
    assert len({values["PORT_CADDY"], values["PORT_STATUS"]}) == 2
    assert values["PORT_CADDY"] != "8080"
    assert values["COMPOSE_PROFILES"] == "geo"


def test_another_file_gets_its_own_project_and_folders(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    other = tmp_path / "other" / ".env"
    other.parent.mkdir()
    checkout.environment |= {"WEPP_ENV_FILE": str(other), "COMPOSE_PROJECT_NAME": "other"}
    env_init.initialise(checkout.compose())
    values = envfile.read(other).values
    assert values["COMPOSE_PROJECT_NAME"] == "other"
    assert values["SECRETS_DIR"] == str(tmp_path / ".docker-data" / "other" / "secrets")
    assert values["STACK_ENV_FILE"] == str(other)
    assert not (tmp_path / ".env").exists()
    assert not (tmp_path / "docker" / ".env").is_symlink()


def test_an_exported_project_name_is_written_into_a_new_file_and_nothing_else_of_the_shell(
    tmp_path: Path,
) -> None:
    checkout = Checkout(tmp_path)
    checkout.environment |= {"COMPOSE_PROJECT_NAME": "mine", "COMPOSE_PROFILES": "push", "PORT_CADDY": "1"}
    env_init.initialise(checkout.compose())
    values = envfile.read(tmp_path / ".env").values
    assert values["COMPOSE_PROJECT_NAME"] == "mine"
    assert (values["COMPOSE_PROFILES"], values["PORT_CADDY"]) == ("geo", "8080")
    checkout.environment["COMPOSE_PROJECT_NAME"] = "another"
    env_init.initialise(checkout.compose())
    assert envfile.read(tmp_path / ".env").values["COMPOSE_PROJECT_NAME"] == "mine"


def test_hand_typed_commands_find_the_file_beside_the_compose_files(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    env_init.initialise(checkout.compose())
    env_init.initialise(checkout.compose())
    assert (tmp_path / "docker" / ".env").resolve() == tmp_path / ".env"


def test_the_builds_ca_bundle_and_mirrors_come_from_the_callers_environment(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    checkout.environment |= {"SSL_CERT_FILE": str(bundle), "GOPROXY": "https://user:word@mirror.example/go"}
    env_init.initialise(checkout.compose())
    values = envfile.read(tmp_path / ".env").values
    mirrors = Path(values["BUILD_ENVIRONMENT_FILE"])
    assert values["BUILD_CA_BUNDLE"] == str(bundle)
    assert mirrors.read_text() == "export GOPROXY=https://user:word@mirror.example/go\n"
    assert mirrors.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("place", "name"),
    [("second/.env", "wepppy-second"), ("Two Words.env", "wepppy-two-words"), (".env.test", "wepppy-test")],
)
def test_a_second_stack_without_a_name_gets_one_of_its_own(tmp_path: Path, place: str, name: str) -> None:
    checkout = Checkout(tmp_path)
    (tmp_path / "second").mkdir()
    checkout.environment["WEPP_ENV_FILE"] = str(tmp_path / place)
    compose = checkout.compose()
    env_init.initialise(compose)
    assert compose.project == name
    assert compose.data_dir == tmp_path / ".docker-data" / name
    assert envfile.read(tmp_path / place).values["COMPOSE_PROJECT_NAME"] == name


@pytest.mark.parametrize("name", ["secrets", "postgres-backups"])
def test_a_second_stack_is_not_named_like_a_folder_of_the_first(tmp_path: Path, name: str) -> None:
    checkout = Checkout(tmp_path)
    env_init.initialise(checkout.compose())
    before = sorted((tmp_path / ".docker-data").rglob("*"))
    checkout.environment |= {"WEPP_ENV_FILE": str(tmp_path / "second.env"), "COMPOSE_PROJECT_NAME": name}
    with pytest.raises(StackError) as caught:
        env_init.initialise(checkout.compose())
    assert caught.value.exit_code == ExitCode.REFUSED
    assert f"cannot be the data folder of project {name}" in caught.value.what
    assert not (tmp_path / "second.env").exists()
    assert sorted((tmp_path / ".docker-data").rglob("*")) == before
