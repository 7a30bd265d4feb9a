"""Which optional compose files are listed: by where the stores and the tree are."""

from __future__ import annotations

from pathlib import Path

from scripts.engine.compose import Compose
from scripts.prepare import source_mounts
from scripts.prepare.overlays import (
    DEV_FILE,
    EXTERNAL_STORES,
    GONE,
    HOOK_FILE,
    IMAGE_FILE,
    OPEN_FILES_FILE,
    PROD_FILE,
    TREE_FILE,
    choose,
    chosen,
    follow,
    real_tree,
    wanted,
)
from scripts.settings import env_editing
from tests.unit.fakes import Checkout, Screen

DEV = "docker/docker-compose.dev.yml"
POSTGRES, REDIS = EXTERNAL_STORES
ALL = [POSTGRES, REDIS, HOOK_FILE]


def test_an_overlay_of_an_earlier_release_is_taken_out() -> None:
    assert chosen([DEV, GONE[0]], wanted({}), [*ALL, *GONE]) == [DEV]


def test_an_overlay_that_is_not_there_is_not_listed() -> None:
    assert chosen([DEV], wanted({"POSTGRES_HOST": "db.example.org"}), []) == [DEV]


def test_a_store_elsewhere_brings_its_overlay_and_coming_back_takes_it_out() -> None:
    away = chosen([DEV], wanted({"POSTGRES_HOST": "db.example.org"}), ALL)
    assert away == [DEV, POSTGRES]
    assert chosen(away, wanted({"POSTGRES_HOST": "postgres"}), ALL) == [DEV]
    assert REDIS in chosen([DEV], wanted({"REDIS_HOST": "10.0.0.5"}), ALL)


def test_an_empty_setting_means_the_stacks_own_store() -> None:
    assert chosen([DEV], wanted({"POSTGRES_HOST": "", "REDIS_HOST": ""}), ALL) == [DEV]


def test_files_of_the_users_own_amend_the_overlays_wherever_those_are_listed() -> None:
    assert chosen([DEV, "docker/mine.yml"], wanted({}), ALL) == [DEV, "docker/mine.yml"]
    away = wanted({"POSTGRES_HOST": "db.example.org"})
    assert chosen([DEV, "docker/mine.yml"], away, ALL) == [DEV, POSTGRES, "docker/mine.yml"]
    assert chosen(["docker/one.yml", DEV, "two.yml", POSTGRES], away, ALL) == [
        "docker/one.yml", DEV, POSTGRES, "two.yml"
    ]  # fmt: skip
    assert chosen(["docker/alone.yml"], away, ALL) == ["docker/alone.yml", POSTGRES]


def test_the_overlay_of_a_watcher_stays_where_an_exported_setting_chooses_others(tmp_path: Path) -> None:
    checkout = checkout_with_overlays(tmp_path, COMPOSE_FILE=f"{DEV}:{HOOK_FILE}")
    (tmp_path / HOOK_FILE).write_text("services: {}\n")
    checkout.environment["POSTGRES_HOST"] = "db.example.org"
    compose = checkout.compose()
    follow(compose)
    assert compose.files == [DEV, POSTGRES, HOOK_FILE]


def test_a_watcher_of_the_backups_brings_its_overlay_and_its_address_is_not_told() -> None:
    choice = wanted({"backup_hook_url": "https://watcher.example/token"})
    watched = chosen([DEV], choice, ALL)
    assert watched == [DEV, HOOK_FILE]
    assert choice[HOOK_FILE][1] == "the secret file backup_hook_url is filled"
    assert chosen(watched, wanted({"backup_hook_url": ""}), ALL) == [DEV]


def checkout_with_overlays(root: Path, **settings: str) -> Checkout:
    checkout = Checkout(root)
    checkout.with_env()
    env_editing.set_keys(root / ".env", settings)
    for name in (POSTGRES, REDIS):
        (root / name).write_text("services: {}\n")
    return checkout


def task(compose: Compose) -> str:
    return compose.env.get("COMPOSE_FILE")


def test_an_exported_store_is_followed_by_this_run_and_never_written(tmp_path: Path) -> None:
    checkout = checkout_with_overlays(tmp_path)
    checkout.environment["POSTGRES_HOST"] = "db.example.org"
    compose = checkout.compose()
    choose(compose, Screen().console)
    assert compose.files == [DEV, POSTGRES]
    assert compose.argv("up")[6:8] == ["--file", POSTGRES]
    assert task(compose) == DEV
    del checkout.environment["POSTGRES_HOST"]
    assert checkout.compose().files == [DEV]


def test_the_stacks_own_store_exported_against_the_settings_file_counts_for_this_run_too(
    tmp_path: Path,
) -> None:
    checkout = checkout_with_overlays(
        tmp_path, REDIS_HOST="10.0.0.5", POSTGRES_HOST="db", COMPOSE_FILE=f"{DEV}:{POSTGRES}:{REDIS}"
    )
    checkout.environment["REDIS_HOST"] = ""
    compose = checkout.compose()
    choose(compose, Screen().console)
    assert compose.files == [DEV, POSTGRES]
    assert task(compose) == f"{DEV}:{POSTGRES}:{REDIS}"


def test_files_that_the_caller_exports_are_the_callers(tmp_path: Path) -> None:
    checkout = checkout_with_overlays(tmp_path)
    checkout.environment |= {"POSTGRES_HOST": "db.example.org", "COMPOSE_FILE": "docker/mine.yml"}
    assert checkout.compose().files == ["docker/mine.yml"]


# ---- a real tree ----

TREE_OVERLAYS = [TREE_FILE, DEV_FILE, PROD_FILE, IMAGE_FILE, source_mounts.NAME, OPEN_FILES_FILE]


def tree_of(tmp_path: Path, **settings: str) -> dict[str, tuple[bool, str]]:
    return wanted(settings, tree=tmp_path)


def test_a_real_tree_brings_its_files_in_the_order_in_which_they_amend_each_other(tmp_path: Path) -> None:
    files = chosen([DEV], tree_of(tmp_path), [*ALL, *TREE_OVERLAYS])
    assert files == [DEV, TREE_FILE, DEV_FILE, source_mounts.NAME]
    given = chosen(files, tree_of(tmp_path, WEPPPY_IMAGE="w:1", WORKER_NOFILE="9"), [*ALL, *TREE_OVERLAYS])
    assert given == [
        DEV, TREE_FILE, DEV_FILE, IMAGE_FILE, source_mounts.NAME, OPEN_FILES_FILE
    ]  # fmt: skip


def test_going_back_to_the_sample_takes_all_of_them_out(tmp_path: Path) -> None:
    files = chosen([DEV], tree_of(tmp_path, WEPPPY_IMAGE="w:1"), [*ALL, *TREE_OVERLAYS])
    assert chosen(files, wanted({}), [*ALL, *TREE_OVERLAYS]) == [DEV]


def test_production_copies_the_tree_and_mounts_nothing_of_it(tmp_path: Path) -> None:
    prod = "docker/docker-compose.prod.yml"
    choice = wanted({}, production=True, tree=tmp_path)
    files = chosen([prod], choice, [*ALL, *TREE_OVERLAYS])
    assert files == [prod, TREE_FILE, PROD_FILE]


def test_an_image_of_the_users_own_is_for_a_real_tree_alone() -> None:
    assert chosen([DEV], wanted({"WEPPPY_IMAGE": "w:1"}), [*ALL, *TREE_OVERLAYS]) == [DEV]


def test_a_copy_of_the_sample_is_no_real_tree(tmp_path: Path) -> None:
    assert real_tree(tmp_path, "") is None
    assert real_tree(tmp_path, str(tmp_path / "tree")) == tmp_path / "tree"
    (tmp_path / "tree" / "wepppy" / "sample_data").mkdir(parents=True)
    assert real_tree(tmp_path, str(tmp_path / "tree")) is None
    assert real_tree(tmp_path, "../tree") is None


def test_the_settings_file_decides_and_gets_the_list_with_the_generated_file(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    tree = tmp_path / "checkout"
    (tree / "docker" / "secrets").mkdir(parents=True)
    checkout.with_env(WEPPPY_SRC=str(tree), COMPOSE_FILE=DEV)
    for name in (TREE_FILE, DEV_FILE):
        (checkout.root / name).write_text("services: {}\n")
    compose = checkout.compose()
    choose(compose, Screen().console)
    listed = compose.env.get("COMPOSE_FILE").split(":")
    assert listed[:3] == [DEV, TREE_FILE, DEV_FILE]
    assert listed[3] == ".docker-data/source-mounts.yml"
    assert "/workdir/wepppy/docker/secrets" in (checkout.root / listed[3]).read_text()
    # The same again changes nothing; what is to be hidden besides comes into a model that is already being read.
    begun = compose.rendering
    choose(compose, Screen().console)
    assert compose.env.get("COMPOSE_FILE").split(":") == listed
    assert compose.rendering is begun
    (tree / "node_modules").mkdir()
    choose(compose, Screen().console)
    assert "/workdir/wepppy/node_modules" in (checkout.root / listed[3]).read_text()
    assert compose.rendering is not begun
