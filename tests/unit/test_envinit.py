"""A `.env` is made once, with good secrets, and is then the user's own."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from scripts import envfile, envinit
from scripts.errors import StackError
from tests.unit.fakes import Checkout, Screen


def test_a_new_file_has_secrets_owner_and_mode_and_keeps_the_comments(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    written = envinit.initialise(checkout.compose())
    env = envfile.read(tmp_path / ".env")
    assert written.created
    assert not env.problems
    assert len(env.values["POSTGRES_PASSWORD"]) >= 43
    assert int(env.values["UID"]) > 0
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert "# Name of the stack." in (tmp_path / ".env").read_text()


def test_the_owner_of_a_new_file_is_the_user_that_containers_run_as(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    envinit.initialise(checkout.compose())
    uid = int(envfile.read(tmp_path / ".env").values["UID"])
    assert (tmp_path / ".env").stat().st_uid == uid


def test_behind_sudo_the_person_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "getgid", lambda: 0)
    assert envinit.owner_of_caller({"SUDO_UID": "1234", "SUDO_GID": "5678"}) == (1234, 5678)
    assert envinit.owner_of_caller({}) == (1000, 1000)
    assert envinit.owner_of_caller({"SUDO_UID": "0", "SUDO_GID": "0"}) == (1000, 1000)


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    path = checkout.with_env(COMPOSE_PROFILES="")
    before = path.read_bytes()
    written = envinit.initialise(checkout.compose(), free_ports=True)
    assert not written.created
    assert written.added == ()
    assert path.read_bytes() == before


def test_a_second_call_adds_new_keys_and_empty_secrets_only_and_says_so(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    path = checkout.with_env(VAPID_PRIVATE_KEY="", COMPOSE_PROFILES="")
    with (tmp_path / ".env.example").open("a") as example:
        example.write("NEW_KEY=new\n")
    written = envinit.initialise(checkout.compose())
    env = envfile.read(path)
    assert set(written.added) == {"NEW_KEY", "VAPID_PRIVATE_KEY"}
    assert env.values["NEW_KEY"] == "new"
    assert env.values["POSTGRES_PASSWORD"] == "a-very-secret-word"
    assert env.values["COMPOSE_PROFILES"] == ""
    screen = Screen()
    envinit.tell(screen.console, written, free_ports=False)
    assert "kept; added what it lacked" in screen.err.getvalue()


def test_a_malformed_file_is_left_as_it_is(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD='open\n")
    with pytest.raises(StackError, match="line 1 is malformed"):
        envinit.initialise(checkout.compose())
    assert (tmp_path / ".env").read_text() == "POSTGRES_PASSWORD='open\n"


def test_secrets_of_an_earlier_file_are_taken_over(tmp_path: Path) -> None:
    """The database still has the old password; a fresh one would lock everybody out."""
    checkout = Checkout(tmp_path)
    folder = tmp_path / ".docker-data" / "secrets"
    folder.mkdir(parents=True)
    (folder / "postgres_password").write_text("the-old-one")
    written = envinit.initialise(checkout.compose())
    assert envfile.read(tmp_path / ".env").values["POSTGRES_PASSWORD"] == "the-old-one"
    assert written.kept == ("POSTGRES_PASSWORD",)


def test_free_ports_are_all_different_and_other_keys_stay(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    envinit.initialise(checkout.compose(), free_ports=True)
    values = envfile.read(tmp_path / ".env").values
    assert len({values["PORT_CADDY"], values["PORT_STATUS"]}) == 2
    assert values["PORT_CADDY"] != "8080"
    assert values["COMPOSE_PROFILES"] == "geo"


def test_another_file_gets_its_own_project_and_folders(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    other = tmp_path / "other" / ".env"
    other.parent.mkdir()
    checkout.environment |= {"WEPP_ENV_FILE": str(other), "COMPOSE_PROJECT_NAME": "other"}
    envinit.initialise(checkout.compose())
    values = envfile.read(other).values
    assert values["COMPOSE_PROJECT_NAME"] == "other"
    assert values["SECRETS_DIR"] == str(tmp_path / ".docker-data" / "other" / "secrets")
    assert values["STACK_ENV_FILE"] == str(other)
    assert not (tmp_path / ".env").exists()
    assert not (tmp_path / "docker" / ".env").is_symlink()


def test_hand_typed_commands_find_the_file_beside_the_compose_files(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    envinit.initialise(checkout.compose())
    envinit.initialise(checkout.compose())
    assert (tmp_path / "docker" / ".env").resolve() == tmp_path / ".env"


def test_the_builds_ca_bundle_and_mirrors_come_from_the_callers_environment(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    checkout.environment |= {"SSL_CERT_FILE": str(bundle), "GOPROXY": "https://user:word@mirror.example/go"}
    envinit.initialise(checkout.compose())
    values = envfile.read(tmp_path / ".env").values
    mirrors = Path(values["BUILD_ENVIRONMENT_FILE"])
    assert values["BUILD_CA_BUNDLE"] == str(bundle)
    assert mirrors.read_text() == "export GOPROXY=https://user:word@mirror.example/go\n"
    assert mirrors.stat().st_mode & 0o777 == 0o600


def test_tokens_are_safe_in_urls_files_and_command_lines() -> None:
    tokens = {envinit.token() for _ in range(200)}
    assert len(tokens) == 200
    assert all(envfile.PLAIN_VALUE.fullmatch(each) and not each.startswith("-") for each in tokens)


def test_push_keys_are_numbers_of_the_p256_group(monkeypatch: pytest.MonkeyPatch) -> None:
    key = base64.urlsafe_b64decode(envinit.vapid() + "=")
    assert len(key) == 32
    assert 1 <= int.from_bytes(key, "big") < envinit.P256_ORDER
    monkeypatch.setattr("secrets.randbelow", lambda limit: limit - 1)
    largest = base64.urlsafe_b64decode(envinit.vapid() + "=")
    assert int.from_bytes(largest, "big") == envinit.P256_ORDER - 1
    monkeypatch.setattr("secrets.randbelow", lambda limit: 0)
    smallest = base64.urlsafe_b64decode(envinit.vapid() + "=")
    assert int.from_bytes(smallest, "big") == 1


def test_an_unknown_kind_of_value_is_a_mistake_of_the_example() -> None:
    with pytest.raises(StackError, match="unknown kind"):
        envinit.generated_keys("# generated: magic\nKEY=\n")
