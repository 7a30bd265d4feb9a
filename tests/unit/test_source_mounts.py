"""What the generated compose file hides of a checkout, and which repositories it mounts beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.prepare import source_mounts

TREE = "/workdir/wepppy"


def mounts(tree: Path, siblings: Path | None = None, service: str = "rq-worker") -> dict[str, dict[str, Any]]:
    """The mounts of one service, by target."""
    text = source_mounts.text(tree, siblings)
    document = json.loads("".join(line for line in text.splitlines(True) if not line.startswith("#")))
    return {each["target"]: each for each in document["services"][service]["volumes"]}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with all that must not be seen."""
    root = tmp_path / "wepppy"
    for folder in (".git", "docker/secrets", "wepppy/weppcloud/static-src/node_modules/one/node_modules"):
        (root / folder).mkdir(parents=True)
    for file in (".env", "docker/.env"):
        (root / file).touch()
    return root


def test_what_must_not_be_seen_is_covered_by_something_empty_that_cannot_be_written(tree: Path) -> None:
    found = mounts(tree)
    folders = {target for target, each in found.items() if each["type"] == "tmpfs"}
    files = {target for target, each in found.items() if each.get("source") == "/dev/null"}
    assert folders == {
        f"{TREE}/.git",
        f"{TREE}/docker/secrets",
        f"{TREE}/wepppy/weppcloud/static-src/node_modules",
    }
    assert files == {f"{TREE}/.env", f"{TREE}/docker/.env"}
    assert all(each["read_only"] for each in found.values())


def test_nothing_is_mounted_over_what_is_not_there(tmp_path: Path) -> None:
    assert mounts(tmp_path) == {}


def test_a_worktrees_git_file_and_links_are_left_as_they_are_or_hidden_as_files(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /elsewhere\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "node_modules").symlink_to(tmp_path / "elsewhere")
    assert {target: each["source"] for target, each in mounts(tmp_path).items()} == {
        f"{TREE}/.git": "/dev/null"
    }


def test_siblings_that_are_there_are_mounted_read_only_without_their_history(
    tree: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "beside"
    for name in ("wepppyo3/.git", "rosetta", "something-else"):
        (folder / name).mkdir(parents=True)
    found = mounts(tree, folder)
    assert found["/workdir/wepppyo3"]["source"] == str(folder / "wepppyo3")
    assert found["/workdir/wepppyo3"]["read_only"]
    assert found["/workdir/wepppyo3/.git"]["type"] == "tmpfs"
    assert {target for target in found if "/workdir/wepppy/" not in target} == {
        "/workdir/wepppyo3",
        "/workdir/wepppyo3/.git",
        "/workdir/rosetta",
    }


@pytest.mark.parametrize("there", [True, False])
def test_the_token_can_be_mounted_into_its_package_whether_the_file_is_there_or_not(
    tree: Path, tmp_path: Path, there: bool
) -> None:
    package = tmp_path / "beside" / "weppcloud2" / "weppcloud2"
    (package / "discord_bot").mkdir(parents=True)
    for file in (package.parent / "setup.py", package / "__init__.py", package / "discord_bot" / "client.py"):
        file.touch()
    if there:
        (package / "discord_bot" / ".bot_token").touch()
    found = {
        target for target in mounts(tree, tmp_path / "beside") if target.startswith("/workdir/weppcloud2")
    }
    if there:
        assert found == {"/workdir/weppcloud2"}
    else:
        # No mount holds the folder that the token is put into.
        assert found == {
            "/workdir/weppcloud2/setup.py",
            "/workdir/weppcloud2/weppcloud2/__init__.py",
            "/workdir/weppcloud2/weppcloud2/discord_bot/client.py",
        }


def test_the_proxy_gets_the_static_folders_that_are_there(tree: Path) -> None:
    static = tree / "wepppy" / "weppcloud" / "static"
    static.mkdir()
    assert set(mounts(tree, service="caddy")) == {"/srv/tree/static"}
    (tree / "wepppy/weppcloud/routes/usersum/static").mkdir(parents=True)
    assert set(mounts(tree, service="caddy")) == {"/srv/tree/static", "/srv/tree/usersum-static"}


def test_the_front_end_is_built_without_the_modules_that_lie_in_the_checkout(tree: Path) -> None:
    assert set(mounts(tree, service="assets-vendor")) == {"/static-src", "/static-src/node_modules"}


def test_a_dollar_in_a_path_is_no_variable(tmp_path: Path) -> None:
    tree = tmp_path / "a$HOME"
    (tree / "wepppy/weppcloud/static").mkdir(parents=True)
    assert "a$$HOME" in source_mounts.text(tree, None)
