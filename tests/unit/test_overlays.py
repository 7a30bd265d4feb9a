"""Which optional compose files are listed: by the engine's API and by where the stores are."""

from __future__ import annotations

from pathlib import Path

from scripts.engine.compose import Compose
from scripts.prepare import source_mounts
from scripts.prepare.overlays import (
    DEV_FILE,
    EXTERNAL_STORES,
    FAST_START_API,
    FAST_START_FILE,
    HOOK_FILE,
    IMAGE_FILE,
    OPEN_FILES_FILE,
    PROD_FILE,
    TREE_FAST_START,
    TREE_FILE,
    TREE_FILES,
    choose,
    chosen,
    real_tree,
    wanted,
)
from scripts.settings import env_editing
from tests.unit.fakes import Checkout, Screen

DEV = "docker/docker-compose.dev.yml"
POSTGRES, REDIS = EXTERNAL_STORES
ALL = [POSTGRES, REDIS, HOOK_FILE, FAST_START_FILE]
NEW, OLD, UNKNOWN = FAST_START_API, (1, 41), (0, 0)


def test_fast_start_is_added_once_where_the_engine_can_do_it() -> None:
    once = chosen([DEV], wanted({}, NEW), ALL)
    assert once == [DEV, FAST_START_FILE]
    assert chosen(once, wanted({}, NEW), ALL) == once


def test_fast_start_is_taken_out_where_the_engine_would_refuse_it() -> None:
    assert chosen([DEV, FAST_START_FILE], wanted({}, OLD), ALL) == [DEV]


def test_an_unknown_engine_changes_nothing() -> None:
    for files in ([DEV], [DEV, FAST_START_FILE]):
        assert chosen(files, wanted({}, UNKNOWN), ALL) == files


def test_an_overlay_that_is_not_there_is_not_listed() -> None:
    assert chosen([DEV, FAST_START_FILE], wanted({"POSTGRES_HOST": "db.example.org"}, NEW), []) == [DEV]


def test_a_store_elsewhere_brings_its_overlay_and_coming_back_takes_it_out() -> None:
    away = chosen([DEV], wanted({"POSTGRES_HOST": "db.example.org"}, NEW), ALL)
    assert away == [DEV, POSTGRES, FAST_START_FILE]
    assert chosen(away, wanted({"POSTGRES_HOST": "postgres"}, NEW), ALL) == [DEV, FAST_START_FILE]
    assert REDIS in chosen([DEV], wanted({"REDIS_HOST": "10.0.0.5"}, NEW), ALL)


def test_an_empty_setting_means_the_stacks_own_store() -> None:
    assert chosen([DEV], wanted({"POSTGRES_HOST": "", "REDIS_HOST": ""}, NEW), ALL) == [DEV, FAST_START_FILE]


def test_files_of_the_users_own_keep_their_place() -> None:
    assert chosen([DEV, "docker/mine.yml"], wanted({}, NEW), ALL) == [DEV, "docker/mine.yml", FAST_START_FILE]


def test_a_watcher_of_the_backups_brings_its_overlay_and_its_address_is_not_told() -> None:
    choice = wanted({"backup_hook_url": "https://watcher.example/token"}, NEW)
    watched = chosen([DEV, FAST_START_FILE], choice, ALL)
    assert watched == [DEV, FAST_START_FILE, HOOK_FILE]
    assert choice[HOOK_FILE][1] == "the secret file backup_hook_url is filled"
    assert chosen(watched, wanted({"backup_hook_url": ""}, NEW), ALL) == [DEV, FAST_START_FILE]


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

TREE_OVERLAYS = [*TREE_FILES]


def tree_of(tmp_path: Path, **settings: str) -> dict[str, tuple[bool, str]]:
    return wanted(settings, NEW, tree=tmp_path)


def test_a_real_tree_brings_its_files_in_the_order_in_which_they_amend_each_other(tmp_path: Path) -> None:
    files = chosen([DEV], tree_of(tmp_path), [*ALL, *TREE_OVERLAYS])
    assert files == [DEV, FAST_START_FILE, TREE_FILE, DEV_FILE, source_mounts.NAME, TREE_FAST_START]
    given = chosen(files, tree_of(tmp_path, WEPPPY_IMAGE="w:1", WORKER_NOFILE="9"), [*ALL, *TREE_OVERLAYS])
    assert [name for name in given if name in TREE_FILES] == [
        TREE_FILE, DEV_FILE, IMAGE_FILE, source_mounts.NAME, OPEN_FILES_FILE, TREE_FAST_START
    ]  # fmt: skip


def test_going_back_to_the_sample_takes_all_of_them_out(tmp_path: Path) -> None:
    files = chosen([DEV], tree_of(tmp_path, WEPPPY_IMAGE="w:1"), [*ALL, *TREE_OVERLAYS])
    assert chosen(files, wanted({}, NEW), [*ALL, *TREE_OVERLAYS]) == [DEV, FAST_START_FILE]


def test_production_copies_the_tree_and_mounts_nothing_of_it(tmp_path: Path) -> None:
    prod = "docker/docker-compose.prod.yml"
    choice = wanted({}, NEW, production=True, tree=tmp_path)
    files = chosen([prod], choice, [*ALL, *TREE_OVERLAYS])
    assert files == [prod, FAST_START_FILE, TREE_FILE, PROD_FILE, TREE_FAST_START]


def test_an_image_of_the_users_own_is_for_a_real_tree_alone() -> None:
    assert chosen([DEV], wanted({"WEPPPY_IMAGE": "w:1"}, NEW), [*ALL, *TREE_OVERLAYS]) == [
        DEV,
        FAST_START_FILE,
    ]


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
    # The same again changes nothing.
    choose(compose, Screen().console)
    assert compose.env.get("COMPOSE_FILE").split(":") == listed
