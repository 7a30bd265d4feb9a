"""Kept databases: found by their mark and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from wepp_backup.events import REFUSED, USAGE, Problem, Reporter
from wepp_backup.markers import KeptDatabase, Marker, choose, free_name, list_kept
from wepp_backup.rollback import drop_kept
from wepp_backup.server import Server, Session, execute, literal, quote
from wepp_backup.staging import take_lock
from wepp_backup.switchover import switch_over

EU = "wepppy_production_of_the_forest_service_prod_eu"
US = "wepppy_production_of_the_forest_service_prod_us"
NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def make(session: Session, name: str, comment: str = "") -> None:
    execute(session, f"CREATE DATABASE {quote(name)} TEMPLATE template0 STRATEGY file_copy")
    if comment:
        execute(session, f"COMMENT ON DATABASE {quote(name)} IS '{comment}'")


def keep(session: Session, name: str, of: str, when: datetime) -> None:
    make(session, name)
    marker = Marker("kept", of, "a test", when.isoformat()).text()
    execute(session, f"COMMENT ON DATABASE {quote(name)} IS {literal(marker)}")


def test_the_newest_comes_first_and_is_chosen_when_none_is_named(live: Session) -> None:
    keep(live, "a", "wepppy", NOON)
    keep(live, "b", "wepppy", NOON.replace(hour=13))
    found = list_kept(live, "wepppy")
    assert [each.name for each in found] == ["b", "a"]
    assert choose(found, "").name == "b"
    assert choose(found, "a").name == "a"
    assert found[0].bytes > 1_000_000
    assert found[0].since == "2026-11-24T13:00:00+00:00"


def test_one_that_is_not_kept_is_refused() -> None:
    for found, name in (([], ""), ([KeptDatabase("a", "", 0, "")], "wepppy")):
        with pytest.raises(Problem) as told:
            choose(found, name)
        assert told.value.exit_code == REFUSED


def test_of_two_long_names_that_begin_alike_each_has_its_own(
    server: Server, live: Session, report: Reporter
) -> None:
    live.close()
    with server.connect("postgres") as session:
        for each in (EU, US, "incoming"):
            make(session, each)
        lock = take_lock(server, US, report)
        switched = switch_over(lock, "incoming", about="a test")
        lock.release()
        assert [each.name for each in list_kept(session, US)] == [switched.kept]
        assert list_kept(session, EU) == []


def test_only_what_is_kept_of_this_database_is_dropped(
    server: Server, live: Session, report: Reporter
) -> None:
    keep(live, "mine", "wepppy", NOON)
    keep(live, "another's", "wepppy_eu", NOON)
    make(live, "wepppy_before_dawn")
    lock = take_lock(server, "wepppy", report)
    for name in ("another's", "wepppy_before_dawn", "wepppy", "postgres", "no such one"):
        with pytest.raises(Problem, match="is not a kept database of wepppy") as told:
            drop_kept(lock, name)
        assert told.value.exit_code == USAGE
    drop_kept(lock, "mine")
    assert list_kept(live, "wepppy") == []
    lock.release()


def test_two_switchovers_within_one_second_keep_two_databases(live: Session) -> None:
    first = free_name(live, "wepppy", NOON)
    make(live, first)
    assert first == "wepppy_before_20261124_120000"
    assert free_name(live, "wepppy", NOON) == "wepppy_before_20261124_120001"
