"""The commands around a switchover, as a task on the host asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from wepp_backup.events import FAILED, REFUSED, Reporter
from wepp_backup.markers import list_kept
from wepp_backup.server import Server, Session, execute, value
from wepp_backup.staging import take_lock
from wepp_backup.switchover import switch_over

from tests.backup.cutting import cutting
from tests.backup.program import Program, program


@pytest.fixture
def kept_name(server: Server, live: Session, report: Reporter) -> str:
    """A live database with a table `new`; the kept one, whose name this is, lacks it."""
    execute(live, "CREATE DATABASE incoming")
    live.close()
    with server.connect("incoming") as session:
        execute(session, "CREATE TABLE public.new ()")
    lock = take_lock(server, "wepppy", report)
    name = switch_over(lock, "incoming", about="a test").kept
    lock.release()
    return name


def new_is_live(server: Server) -> bool:
    with server.connect("wepppy") as session:
        return bool(value(session, "SELECT to_regclass('public.new') IS NOT NULL"))


@contextmanager
def rollback(server: Server, *flags: str) -> Iterator[Program]:
    with program(server, "rollback", *flags) as run:
        yield run


def test_the_kept_database_is_live_again_and_the_other_one_is_kept(server: Server, kept_name: str) -> None:
    with rollback(server) as run:
        plan = run.hear("ready")
        assert (plan["name"], plan["about"]) == (kept_name, "a test")
        assert new_is_live(server)
        run.say("switch")
        done = run.hear("ready")
        assert not new_is_live(server)
        run.say("keep")
        assert run.hear("result") == done
        assert run.child.wait() == 0
    with program(server, "live") as run:
        answer = run.hear("result")
    assert answer["kept"] == done["kept"]
    assert answer["id"] != plan["live_id"]


def test_told_to_go_back_it_does(server: Server, kept_name: str) -> None:
    with rollback(server) as run:
        run.hear("ready")
        run.say("switch")
        run.hear("ready")
        run.say("back")
        assert run.hear("result")["kept"]
        assert run.child.wait() == 0
    assert new_is_live(server)


def test_told_to_drop_the_one_from_before_it_does(server: Server, kept_name: str) -> None:
    with rollback(server) as run:
        run.hear("ready")
        run.say("switch")
        run.hear("ready")
        run.say("drop")
        assert run.hear("result")["kept"] == ""
    with server.connect("wepppy") as session:
        assert list_kept(session, "wepppy") == []


def test_a_caller_that_is_gone_before_the_word_changes_nothing(server: Server, kept_name: str) -> None:
    with rollback(server) as run:
        run.hear("ready")
        assert run.leave() == FAILED
    assert new_is_live(server)


def test_a_caller_that_is_gone_after_the_switchover_leaves_it_done(server: Server, kept_name: str) -> None:
    with rollback(server) as run:
        run.hear("ready")
        run.say("switch")
        run.hear("ready")
        run.leave()
    assert not new_is_live(server)
    with server.connect("wepppy") as session:
        assert len(list_kept(session, "wepppy")) == 1


def test_a_signal_after_the_switchover_leaves_it_done(server: Server, kept_name: str) -> None:
    with rollback(server) as run:
        run.hear("ready")
        run.say("switch")
        run.hear("ready")
        run.child.terminate()
        assert run.hear("result")["database"] == "wepppy"
    assert not new_is_live(server)


@pytest.mark.parametrize("word", ["go", "stop", ""])
def test_any_other_word_calls_it_off(server: Server, kept_name: str, word: str) -> None:
    with rollback(server) as run:
        run.hear("ready")
        run.say(word)
        assert "nothing was changed" in run.hear("problem")["what"]
        assert run.child.wait() == REFUSED
    assert new_is_live(server)


def test_a_session_from_elsewhere_refuses_and_force_ends_it(server: Server, kept_name: str) -> None:
    with server.connect("wepppy", application_name="a forgotten one"):
        for clients, word in (("10.0.0.1", "switch"), (None, "switch 10.0.0.1,10.0.0.2")):
            with rollback(server, *([f"--clients={clients}"] if clients else [])) as run:
                run.hear("ready")
                run.say(word)
                assert "a forgotten one of wepppy at a socket" in run.hear("problem")["what"]
                assert run.child.wait() == REFUSED
        with rollback(server, "--force") as run:
            run.hear("ready")
            run.say("switch 10.0.0.1")
            run.hear("ready")
    assert not new_is_live(server)


def test_kept_databases_are_listed_and_dropped_by_name(server: Server, kept_name: str) -> None:
    with program(server, "kept") as run:
        (answer,) = run.hear("result")
        assert answer["name"] == kept_name
    with program(server, "forget", "--name", kept_name) as run:
        assert run.hear("result") == [kept_name]
    with program(server, "rollback") as run:
        assert "no earlier database is kept" in run.hear("problem")["what"]
    with program(server, "forget", "--name", "wepppy") as run:
        assert "is not a kept database" in run.hear("problem")["what"]
    assert new_is_live(server)


def test_which_database_is_live_is_told_as_soon_as_the_server_is_there(
    server: Server, kept_name: str
) -> None:
    with cutting(server) as (through, between):
        between.away = True
        with program(replace(through), "live", WEPP_SUPERUSER="wepppy") as run:
            run.hear("lost")
            between.away = False
            answer = run.hear("result")
    assert answer["kept"] == kept_name
    with server.connect("wepppy") as session:
        assert answer["id"] == value(session, "SELECT oid::int8 FROM pg_database WHERE datname = 'wepppy'")
