"""`env-init --tree` writes the settings that fit a checkout, says why, and leaves the user's own alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.prepare import env_init
from scripts.prepare.tree_settings import SITE_KEY, choose
from scripts.settings import envfile
from tests.unit.fakes import EXAMPLE, Checkout, Screen

MORE = "EXTERNAL_HOST=localhost\nWC1_DIR=\nGEODATA_DIR=\nPYTHON_VERSION=3.13\nWEPPPY_IMAGE=\nWEPPPY_SIBLINGS_DIR=\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """The stack that is to run the tree."""
    (tmp_path / "stack").mkdir()
    made = Checkout(tmp_path / "stack")
    (made.root / ".env.example").write_text(EXAMPLE + MORE)
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with a requirements file and settings of its own."""
    root = tmp_path / "code" / "wepppy"
    (root / "wepppy").mkdir(parents=True)
    (root / "docker").mkdir()
    (root / "docker" / "requirements-uv.txt").write_text("gdal==3.10.2\nx @ git+https://example.org/x.git\n")
    (root / "docker" / "defaults.env").write_text(
        f"UID=1\nWC1_DIR={tmp_path / 'wc1'}\nGEODATA_DIR=/not/there\nEXTERNAL_HOST=wepp.example.org\nSECRET_KEY=x\n"
        "UNKNOWN_HERE=1\n"
    )
    return root


def chosen(tree: Path) -> dict[str, str]:
    example = envfile.parse(EXAMPLE + MORE, Path("x")).values
    return {each.key: each.value for each in choose(tree, example, tree.parent / "constraints")}


def test_what_fits_the_tree_is_written_into_a_new_file(
    checkout: Checkout, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "wc1").mkdir()
    (tree.parent / "rosetta").mkdir()
    written = env_init.initialise(checkout.compose(), tree=tree)
    values = envfile.read(checkout.root / ".env").values
    assert values["WEPPPY_SRC"] == str(tree)
    assert values["WEPPPY_REQUIREMENTS"] == "docker/requirements-uv.txt"
    assert values["WEPPPY_SIBLINGS_DIR"] == str(tree.parent)
    assert values["PYTHON_VERSION"] == "3.12"
    assert values["WEPPPY_SYSTEM_PACKAGES"] == "gdal-bin nco aria2"
    assert values["WEPPPY_BUILD_PACKAGES"] == "git g++ libgdal-dev python3-dev"
    assert values["WC1_DIR"] == str(tmp_path / "wc1")
    assert values["GEODATA_DIR"] == ""
    assert values["EXTERNAL_HOST"] == "wepp.example.org"
    assert values["COMPOSE_PROFILES"] == "geo"
    assert values[SITE_KEY]
    assert not {"SECRET_KEY", "UNKNOWN_HERE"} & values.keys()
    assert written.created
    assert all(each.why for each in written.choices)


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        ("fastapi>=0.120.0", True),
        ("fastapi", True),
        ("fastapi==0.154.0", False),
        ("fastapi>=0.1,<0.150", False),
    ],
)
def test_a_version_that_the_tree_leaves_open_and_cannot_use_is_held_by_a_constraints_file(
    checkout: Checkout, tree: Path, wanted: str, held: bool
) -> None:
    (tree / "docker" / "requirements-uv.txt").write_text(f"{wanted}\n")
    (tree / "wepppy" / "webservices").mkdir()
    (tree / "wepppy" / "webservices" / "crop.py").write_text("x = Query('a', enum=['a', 'b'])\n")
    env_init.initialise(checkout.compose(), tree=tree)
    values = envfile.read(checkout.root / ".env").values
    if not held:
        assert not values.get("WEPPPY_CONSTRAINTS")
        return
    folder = Path(values["WEPPPY_CONSTRAINTS_DIR"])
    assert (folder / values["WEPPPY_CONSTRAINTS"]).read_text() == "fastapi<0.155.0\n"


def test_a_second_call_changes_nothing(checkout: Checkout, tree: Path) -> None:
    env_init.initialise(checkout.compose(), tree=tree)
    before = (checkout.root / ".env").read_text()
    again = env_init.initialise(checkout.compose(), tree=tree)
    assert (checkout.root / ".env").read_text() == before
    assert not any(each.kept for each in again.choices)


def test_the_users_own_values_are_kept_and_told_and_defaults_are_not_theirs(
    checkout: Checkout, tree: Path
) -> None:
    checkout.with_env(EXTERNAL_HOST="mine.example.org", PYTHON_VERSION="3.13", COMPOSE_PROFILES="push,legacy")
    written = env_init.initialise(checkout.compose(), tree=tree)
    values = envfile.read(checkout.root / ".env").values
    assert values["EXTERNAL_HOST"] == "mine.example.org"
    assert values["COMPOSE_PROFILES"] == "push,legacy"
    assert values["PYTHON_VERSION"] == "3.12"
    assert {each.key for each in written.choices if each.kept} == {"EXTERNAL_HOST", "COMPOSE_PROFILES"}
    screen = Screen()
    env_init.tell(screen.console, written, free_ports=False)
    assert "yours, kept; for the tree: wepp.example.org" in screen.out.getvalue()


def test_tree_and_image_replace_earlier_ones_because_they_are_named(checkout: Checkout, tree: Path) -> None:
    checkout.with_env(WEPPPY_SRC="/another", WEPPPY_IMAGE="wepppy:old")
    written = env_init.initialise(checkout.compose(), tree=tree, image="wepppy:new")
    values = envfile.read(checkout.root / ".env").values
    assert (values["WEPPPY_SRC"], values["WEPPPY_IMAGE"]) == (str(tree), "wepppy:new")
    assert "it was wepppy:old" in next(each.why for each in written.choices if each.key == "WEPPPY_IMAGE")


def test_the_answer_can_be_had_as_json_without_any_secret(checkout: Checkout, tree: Path) -> None:
    (tree / "docker" / "secrets").mkdir()
    (tree / "docker" / "secrets" / "wc_token").write_text("of-their-deployment")
    screen = Screen(as_json=True)
    written = env_init.initialise(checkout.compose(), tree=tree)
    env_init.tell(screen.console, written, free_ports=False)
    answer = json.loads(screen.out.getvalue())
    assert answer["settings"][0] == {
        "key": "WEPPPY_SRC", "value": str(tree), "chosen": True, "why": "the checkout",
    }  # fmt: skip
    assert answer["secrets"]["taken"] == ["wc_token"]
    folder = checkout.root / ".docker-data" / "secrets"
    assert all(
        path.read_text() not in screen.out.getvalue() for path in folder.iterdir() if path.stat().st_size
    )


def test_the_interpreter_is_that_of_the_trees_dockerfile(tree: Path) -> None:
    (tree / "docker" / "Dockerfile").write_text("FROM python:3.10-slim AS base\n")
    assert chosen(tree)["PYTHON_VERSION"] == "3.10"


def test_containers_run_as_the_owner_of_the_runs(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "wc1" / "runs").mkdir(parents=True)
    if os.getuid() == 0:
        os.chown(tmp_path / "wc1" / "runs", 1002, 130)
    found = (tmp_path / "wc1" / "runs").stat()
    settings = chosen(tree)
    assert (settings["UID"], settings["GID"]) == (str(found.st_uid), str(found.st_gid))


def test_a_hosts_own_settings_count_over_the_trees_defaults(tree: Path) -> None:
    (tree / "docker" / ".env").write_text("EXTERNAL_HOST=host.example.org\n")
    assert chosen(tree)["EXTERNAL_HOST"] == "host.example.org"


def test_the_bundled_sample_is_recognised(checkout: Checkout) -> None:
    sample = checkout.root / "docker" / "sample"
    assert (sample / "wepppy" / "sample_data").is_dir()
    env_init.initialise(checkout.compose(), tree=sample)
    assert envfile.read(checkout.root / ".env").values["WEPPPY_SRC"] == ""


def test_what_is_no_checkout_or_no_preset_is_refused_before_anything_is_written(
    checkout: Checkout, tmp_path: Path
) -> None:
    for wrong in ({"tree": tmp_path}, {"tree": tmp_path / "gone"}, {"preset": "huge"}):
        with pytest.raises(StackError) as caught:
            env_init.initialise(checkout.compose(), **wrong)
        assert caught.value.exit_code == ExitCode.USAGE
        assert not (checkout.root / ".env").exists()


def test_a_preset_sets_limits_except_those_that_the_user_has_set(checkout: Checkout) -> None:
    (checkout.root / "docker" / "limits-40-cores.env").write_text(
        "RQ_WORKER_COUNT=20\nWEPPCLOUD_MEMORY=16g\n"
    )
    checkout.with_env(RQ_WORKER_COUNT="7")
    written = env_init.initialise(checkout.compose(), preset="40-cores")
    values = envfile.read(checkout.root / ".env").values
    assert (values["RQ_WORKER_COUNT"], values["WEPPCLOUD_MEMORY"]) == ("7", "16g")
    assert [each.kept for each in written.choices] == ["7", ""]
