"""Secrets are files in a folder that is nobody else's; what an older `.env` holds moves there."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from scripts.base import files
from scripts.base.errors import StackError
from scripts.prepare import build_environment
from scripts.settings import env_editing, envfile, secret_files, secret_ids
from tests.unit.fakes import Checkout, Screen

FOLDER = Path(".docker-data") / "secrets"


def contents(folder: Path) -> dict[str, str]:
    """What each file holds."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_every_id_gets_a_file_and_what_can_be_generated_a_value(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    made = secret_files.ensure(checkout.compose())
    found = contents(tmp_path / FOLDER)
    assert found.keys() == secret_ids.BY_ID.keys()
    assert {name for name, value in found.items() if value} == set(made.generated)
    assert all(len(found[each.id]) >= 43 for each in secret_ids.ALL if each.generate)
    assert all(not found[each.id] for each in secret_ids.ALL if not each.generate)
    assert len(set(found.values())) == len(made.generated) + 1


def test_the_folder_is_its_owners_and_the_files_are_for_containers_to_read(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True, mode=0o755)
    (folder / "cap_secret").write_text("of-my-own")
    (folder / "cap_secret").chmod(0o600)
    secret_files.ensure(checkout.compose())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}
    assert (folder / "cap_secret").read_text() == "of-my-own"


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    secret_files.ensure(checkout.compose())
    before = {path: (path.read_text(), path.stat().st_ino) for path in (tmp_path / FOLDER).iterdir()}
    again = secret_files.ensure(checkout.compose())
    assert (again.generated, again.taken, again.moved, again.left) == ((), (), (), ())
    assert {path: (path.read_text(), path.stat().st_ino) for path in (tmp_path / FOLDER).iterdir()} == before


def test_what_an_older_env_holds_is_moved_into_files_once(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    env = checkout.with_env(
        SECRET_KEY="the-old-key", POSTGRES_PASSWORD="the-old-word", BACKUP_HOOK_URL="", REDIS_PASSWORD="other"
    )
    made = secret_files.ensure(checkout.compose())
    found = contents(tmp_path / FOLDER)
    assert found["flask_secret_key"] == "the-old-key"
    assert found["postgres_password"] == "the-old-word"
    assert found["redis_password"] == "other"
    assert set(made.moved) == {"SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert not envfile.read(env).values.keys() & secret_ids.BY_KEY.keys()
    assert envfile.read(env).get("PORT_CADDY") == "8080"
    assert env.stat().st_mode & 0o777 == 0o600


def test_in_an_older_stack_env_counts_except_for_the_databases_password(tmp_path: Path) -> None:
    """The files were written from `.env` at every compose-up; the role's password alone is not changed by that."""
    checkout = Checkout(tmp_path)
    env = checkout.with_env(
        SECRET_KEY="edited",
        REDIS_PASSWORD="edited too",
        POSTGRES_PASSWORD="edited as well",
        ADMIN_PASSWORD="same",
    )
    checkout.with_secrets(
        secret_key="before", redis_password="before", postgres_password="the role's", admin_password="same"
    )
    made = secret_files.ensure(checkout.compose())
    found = contents(tmp_path / FOLDER)
    assert found["flask_secret_key"] == "edited"
    assert found["redis_password"] == "edited too"
    assert found["postgres_password"] == "the role's"
    assert made.left == ("POSTGRES_PASSWORD",)
    # Nothing else holds it: it is the user's to delete.
    assert envfile.read(env).values["POSTGRES_PASSWORD"] == "edited as well"
    assert not {"SECRET_KEY", "REDIS_PASSWORD", "ADMIN_PASSWORD"} & envfile.read(env).values.keys()


def test_once_secrets_are_files_a_value_that_comes_back_into_env_counts_only_where_there_is_none(
    tmp_path: Path,
) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    secret_files.ensure(checkout.compose())
    key = (tmp_path / FOLDER / "flask_secret_key").read_text()
    env = checkout.with_env(SECRET_KEY="edited", BACKUP_HOOK_URL="https://watcher.example/word")
    made = secret_files.ensure(checkout.compose())
    assert (tmp_path / FOLDER / "flask_secret_key").read_text() == key
    assert (tmp_path / FOLDER / "backup_hook_url").read_text() == "https://watcher.example/word"
    assert made.left == ("SECRET_KEY",)
    assert envfile.read(env).values.keys() & secret_ids.BY_KEY.keys() == {"SECRET_KEY"}


@pytest.mark.parametrize("writes", range(len(secret_ids.ALL) + 1))
def test_a_move_that_is_killed_before_any_write_loses_nothing_and_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    checkout = Checkout(tmp_path)
    old = {each.key: f"old-{each.id}" for each in secret_ids.ALL}
    env = checkout.with_env()
    env_editing.set_keys(env, old)
    checkout.with_secrets(**{each.older or each.id: "of-an-earlier-start" for each in secret_ids.ALL[1:]})
    (tmp_path / FOLDER / "postgres_password").unlink()
    left, write = [writes], files.replace

    def killed(path: Path, *rest: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, *rest)

    monkeypatch.setattr(secret_files, "replace", killed)
    monkeypatch.setattr(files, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        secret_files.ensure(checkout.compose())
    monkeypatch.undo()
    held = {**envfile.read(env).values, **contents(tmp_path / FOLDER)}
    assert all(value in held.values() for value in old.values())
    secret_files.ensure(checkout.compose())
    found = contents(tmp_path / FOLDER)
    assert {each.key: found[each.id] for each in secret_ids.ALL} == old
    assert not envfile.read(env).values.keys() & old.keys()


def test_a_stack_whose_name_is_exported_and_the_one_of_env_both_keep_what_leaves_env(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    env = checkout.with_env(SECRET_KEY="of-both")
    checkout.environment["COMPOSE_PROJECT_NAME"] = "other"
    secret_files.ensure(checkout.compose())
    for folder in (tmp_path / FOLDER, tmp_path / ".docker-data" / "other" / "secrets"):
        assert (folder / "flask_secret_key").read_text() == "of-both"
    assert "SECRET_KEY" not in envfile.read(env).values


def tree_with(folder: Path, **values: str) -> Path:
    """A wepppy tree with secrets of its own deployment."""
    (folder / "docker" / "secrets").mkdir(parents=True)
    for name, value in values.items():
        (folder / "docker" / "secrets" / name).write_text(f"{value}\n")
        (folder / "docker" / "secrets" / name).chmod(0o600)
    return folder


def test_a_trees_secrets_are_copied_where_the_stack_has_none(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    tree = tree_with(
        tmp_path / "tree", cap_secret="theirs", wc_token="a token", postgres_password="theirs", empty=""
    )
    checkout.with_env(WEPPPY_SRC=str(tree))
    checkout.with_secrets(postgres_password="ours", redis_password="ours")
    made = secret_files.ensure(checkout.compose())
    found = contents(tmp_path / FOLDER)
    assert (found["cap_secret"], found["wc_token"], found["postgres_password"]) == (
        "theirs",
        "a token",
        "ours",
    )
    assert set(made.taken) == {"cap_secret", "wc_token"}
    assert made.kept == ("postgres_password",)
    assert (tree / "docker" / "secrets" / "cap_secret").read_text() == "theirs\n"
    screen = Screen()
    secret_files.tell(screen.console, made)
    secret_files.tell_kept(screen.console, made)
    told = screen.err.getvalue()
    assert "cap_secret, wc_token" in told
    assert "the tree has others: postgres_password" in told
    assert "theirs" not in told
    assert "a token" not in told


def test_a_trees_secret_that_is_no_text_is_named_before_anything_is_generated_for_it(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    tree = tree_with(tmp_path / "tree")
    (tree / "docker" / "secrets" / "cap_secret").mkdir()
    checkout.with_env(WEPPPY_SRC=str(tree))
    with pytest.raises(StackError, match="secrets/cap_secret cannot be read") as caught:
        secret_files.ensure(checkout.compose())
    assert "as the owner" in caught.value.fix
    assert not (tmp_path / FOLDER / "cap_secret").exists()


def test_an_exported_password_of_another_project_changes_nothing(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env(POSTGRES_PASSWORD="the-right-word")
    checkout.environment["POSTGRES_PASSWORD"] = "of-another-project"
    secret_files.ensure(checkout.compose())
    assert (tmp_path / FOLDER / "postgres_password").read_text() == "the-right-word"


def test_a_folder_that_cannot_be_written_is_answered_with_a_fix(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    (tmp_path / ".docker-data").write_text("a file in the way")
    with pytest.raises(StackError, match="cannot be written") as caught:
        secret_files.ensure(checkout.compose())
    assert "chown" in caught.value.fix


def test_tokens_are_safe_in_urls_files_and_command_lines() -> None:
    tokens = {secret_ids.token() for _ in range(200)}
    assert len(tokens) == 200
    assert all(env_editing.PLAIN_VALUE.fullmatch(each) and not each.startswith("-") for each in tokens)


def test_push_keys_are_numbers_of_the_p256_group(monkeypatch: pytest.MonkeyPatch) -> None:
    key = base64.urlsafe_b64decode(secret_ids.vapid() + "=")
    assert len(key) == 32
    assert 1 <= int.from_bytes(key, "big") < secret_ids.P256_ORDER
    monkeypatch.setattr("secrets.randbelow", lambda limit: limit - 1)
    largest = base64.urlsafe_b64decode(secret_ids.vapid() + "=")
    assert int.from_bytes(largest, "big") == secret_ids.P256_ORDER - 1
    monkeypatch.setattr("secrets.randbelow", lambda limit: 0)
    smallest = base64.urlsafe_b64decode(secret_ids.vapid() + "=")
    assert int.from_bytes(smallest, "big") == 1


def test_builds_get_the_mirrors_that_are_set_and_uv_follows_pip(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    assert build_environment.write(checkout.compose()) is None
    checkout.environment |= {
        "PIP_INDEX_URL": "https://mirror.example/it's",
        "GOSUMDB": "off",
        "UNRELATED": "x",
    }
    path = build_environment.write(checkout.compose())
    assert path
    assert path.read_text().splitlines() == [
        "export PIP_INDEX_URL='https://mirror.example/it'\"'\"'s'",
        "export UV_DEFAULT_INDEX='https://mirror.example/it'\"'\"'s'",
        "export GOSUMDB=off",
    ]
    # As secret files are: the folder keeps others out, and any user of a container may read.
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o444, 0o700)
    assert checkout.compose().child_environment()["BUILD_ENVIRONMENT_FILE"] == str(path)


def test_builds_get_the_mirror_of_pips_settings_file_and_no_folder_of_this_machine(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    settings = tmp_path / "pip.conf"
    settings.write_text(
        "[global]\nindex-url = https://mirror.example/simple\nfind-links =\n  /opt/wheels\n  https://wheels.example/\n"
    )
    checkout.environment["PIP_CONFIG_FILE"] = str(settings)
    path = build_environment.write(checkout.compose())
    assert path
    assert path.read_text().splitlines() == [
        "export PIP_INDEX_URL=https://mirror.example/simple",
        "export PIP_FIND_LINKS=https://wheels.example/",
        "export UV_DEFAULT_INDEX=https://mirror.example/simple",
        "export UV_FIND_LINKS=https://wheels.example/",
    ]
    settings.write_text("index-url = https://mirror.example/simple\n")
    with pytest.raises(StackError, match=r"pip\.conf cannot be read"):
        build_environment.write(checkout.compose())


def test_builds_get_gits_settings_from_the_callers_environment(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    checkout.environment |= {
        "NPM_CONFIG_REGISTRY": "https://npm.example/",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "url.http://172.17.0.1/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "GIT_CONFIG_KEY_1": "credential.helper",
        "GIT_CONFIG_VALUE_1": "",
        "GIT_AUTHOR_NAME": "of no concern",
    }
    path = build_environment.write(checkout.compose())
    assert path
    assert path.read_text().splitlines() == [
        "export NPM_CONFIG_REGISTRY=https://npm.example/",
        "export GIT_CONFIG_COUNT=2",
        "export GIT_CONFIG_KEY_0=url.http://172.17.0.1/.insteadOf",
        "export GIT_CONFIG_VALUE_0=https://github.com/",
        "export GIT_CONFIG_KEY_1=credential.helper",
        "export GIT_CONFIG_VALUE_1=''",
    ]
