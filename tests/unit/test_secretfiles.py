"""Secret files hold what `.env` says, in a folder that is nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import secretfiles
from scripts.errors import StackError
from tests.unit.fakes import Checkout


def test_each_secret_of_the_model_is_written_for_containers_to_read(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    assert secretfiles.write(checkout.compose()) == ["postgres_password", "vapid_private_key"]
    folder = tmp_path / ".docker-data" / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "postgres_password": "a-very-secret-word",
        "vapid_private_key": "another-secret-word",
    }
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in folder.iterdir())


def test_what_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    secretfiles.write(checkout.compose())
    checkout.with_env(POSTGRES_PASSWORD="changed-word")
    assert secretfiles.write(checkout.compose()) == ["postgres_password"]


def test_a_folder_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    folder = tmp_path / ".docker-data" / "secrets"
    folder.mkdir(parents=True, mode=0o755)
    secretfiles.write(checkout.compose())
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_empty_secret_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env(VAPID_PRIVATE_KEY="")
    with pytest.raises(StackError, match="VAPID_PRIVATE_KEY is empty") as caught:
        secretfiles.write(checkout.compose())
    assert caught.value.exit_code == 3
    assert not (tmp_path / ".docker-data").exists()


def test_an_exported_password_of_another_project_changes_nothing(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    checkout.environment["POSTGRES_PASSWORD"] = "of-another-project"
    secretfiles.write(checkout.compose())
    written = tmp_path / ".docker-data" / "secrets" / "postgres_password"
    assert written.read_text() == "a-very-secret-word"


def test_a_folder_that_cannot_be_written_is_answered_with_a_mend(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    (tmp_path / ".docker-data").write_text("a file in the way")
    with pytest.raises(StackError, match="cannot be written") as caught:
        secretfiles.write(checkout.compose())
    assert "chown" in caught.value.mend


def test_builds_get_the_mirrors_that_are_set_and_uv_follows_pip(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    assert secretfiles.write_build_environment(checkout.compose()) is None
    checkout.environment |= {
        "PIP_INDEX_URL": "https://mirror.example/it's",
        "GOSUMDB": "off",
        "UNRELATED": "x",
    }
    path = secretfiles.write_build_environment(checkout.compose())
    assert path
    assert path.read_text().splitlines() == [
        "export PIP_INDEX_URL='https://mirror.example/it'\"'\"'s'",
        "export GOSUMDB=off",
        "export UV_DEFAULT_INDEX='https://mirror.example/it'\"'\"'s'",
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    assert checkout.compose().child_environment()["BUILD_ENVIRONMENT_FILE"] == str(path)
