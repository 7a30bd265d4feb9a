"""Which optional compose files are listed: by the engine's API and by where the stores are."""

from __future__ import annotations

from scripts.doctor_engine import FAST_START_API, FAST_START_FILE
from scripts.overlays import EXTERNAL_STORES, HOOK_FILE, chosen, wanted

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
    choice = wanted({"BACKUP_HOOK_URL": "https://watcher.example/token"}, NEW)
    watched = chosen([DEV, FAST_START_FILE], choice, ALL)
    assert watched == [DEV, FAST_START_FILE, HOOK_FILE]
    assert choice[HOOK_FILE][1] == "BACKUP_HOOK_URL is set"
    assert chosen(watched, wanted({"BACKUP_HOOK_URL": ""}, NEW), ALL) == [DEV, FAST_START_FILE]
