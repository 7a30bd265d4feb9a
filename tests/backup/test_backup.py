"""Backups of a real server: what they hold, whatever happens to the server meanwhile, and how they are told."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from wepp_backup import staging, webhook
from wepp_backup.backup import back_up, make
from wepp_backup.catalog import (
    ATTEMPT,
    ATTEMPT_BY_HAND,
    CHECKSUM,
    GLOBALS,
    MANIFEST,
    Attempt,
    Catalog,
    Manifest,
    as_json,
)  # fmt: skip
from wepp_backup.events import Problem
from wepp_backup.server import Server, Session, column, execute

from tests.backup.backing_up import BULK, files
from tests.backup.conftest import start, stop


def test_a_backup_is_verified_and_tells_what_it_holds(app: Any, filled: Session) -> None:
    execute(filled, "ALTER DATABASE wepppy SET work_mem = '5MB'")
    made, _ = make(app)
    whole = [made.name, *(made.name + each for each in (GLOBALS, MANIFEST, CHECKSUM))]
    assert files(app) == whole
    (entry,) = app.catalog.entries()
    assert entry.verified
    assert entry.manifest
    assert as_json(entry.manifest) == json.loads(json.dumps(as_json(made)))
    odd = 'public."Odd.""name\nof two lines"'
    assert (made.rows, made.tables["public.run"], made.tables[odd]) == (1007, 1001, 2)
    assert (made.views, made.large_objects, made.revision) == ({"public.stale": 1}, 1, "4f1c7a90d2e6")
    assert made.roles == ["clerk", "wepppy"]
    assert made.extensions["plpgsql"]
    assert made.client_version == made.server_version
    assert made.bytes == entry.bytes
    assert made.database_properties
    assert ["", "work_mem", "5MB"] in made.database_properties["settings"]
    folder = app.settings.folder
    subprocess.run(["sha256sum", "--check", "--strict", f"{made.name}{CHECKSUM}"], cwd=folder, check=True)
    globals_ = (folder / f"{made.name}{GLOBALS}").read_text()
    assert "CREATE ROLE clerk" in globals_
    assert "SCRAM-SHA-256" in globals_
    assert {oct((folder / each).stat().st_mode & 0o777) for each in whole} == {"0o600"}
    assert "pg_restore" in (folder / made.name).read_bytes()[:5].decode() or made.bytes > 5


def test_only_the_dump_itself_is_readable_for_others_in_a_folder_that_is_closed_to_them(
    app: Any, filled: Session
) -> None:
    app.settings.folder.chmod(0o700)
    made, _ = make(app)
    modes = {each: oct((app.settings.folder / each).stat().st_mode & 0o777) for each in files(app)}
    assert modes.pop(made.name) == "0o644"
    assert set(modes.values()) == {"0o600"}


def test_writers_do_not_disturb_the_count(app: Any, filled: Session, server: Server) -> None:
    execute(filled, BULK)
    ended = threading.Event()
    written: list[bool] = []

    def write() -> None:
        with server.connect("wepppy") as session:
            while not ended.is_set():
                execute(session, f"INSERT INTO public.run VALUES ({-1 - len(written)}, 'beside')")
                written.append(True)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        made, _ = make(app)
    finally:
        ended.set()
        thread.join()
    assert written
    assert made.tables["public.run"] >= 1001


def test_more_tables_and_indexes_than_the_server_has_locks_for_are_backed_up(
    app: Any, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    app.server = start(small, max_locks_per_transaction="10", max_connections="20")
    try:
        with app.server.connect("postgres") as session:
            execute(session, "CREATE DATABASE wepppy TEMPLATE template0")
        with app.server.connect("wepppy") as session:
            for number in range(150):
                execute(
                    session,
                    f"CREATE TABLE public.t{number} (a int UNIQUE, b int UNIQUE, c int UNIQUE, d int UNIQUE)",
                )
        made, _ = make(app)
    finally:
        stop(small)
    assert len(made.tables) == 150


def test_a_database_in_another_encoding_has_the_names_that_the_server_tells(app: Any, server: Server) -> None:
    with server.connect("postgres") as session:
        execute(session, "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    app.settings.database = "latin"
    app.catalog = Catalog(app.settings.folder, "latin")
    with server.connect("latin") as session:
        execute(session, 'CREATE TABLE public."Größe" AS SELECT 1 AS "Höhe"')
    made, _ = make(app)
    assert made.tables == {'public."Größe"': 1}


def test_a_function_that_relies_on_the_search_path_in_an_index_does_not_hinder_a_backup(
    app: Any, live: Session
) -> None:
    execute(
        live,
        "CREATE FUNCTION public.inner(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';"
        "CREATE FUNCTION public.outer(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.lower($1)';"
        "CREATE TABLE public.one AS SELECT 'a'::text AS word; CREATE INDEX ON public.one (public.outer(word));"
        # As a server up to 16 lets one be made.
        "SET check_function_bodies = off;"
        "CREATE OR REPLACE FUNCTION public.outer(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT inner($1)'",
    )
    made, _ = make(app)
    assert made.tables == {"public.one": 1}


def test_a_backup_waits_for_another_one(app: Any, filled: Session) -> None:
    with ExitStack() as first:
        first.enter_context(app.catalog.lock(lambda: None))
        made: list[Manifest] = []
        thread = threading.Thread(target=lambda: made.append(make(app)[0]))
        thread.start()
        deadline = time.monotonic() + 60
        while "waiting for it" not in app.report.out.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert files(app) == []
    thread.join()
    assert made[0].name in files(app)


def test_what_a_killed_run_left_is_removed(app: Any, filled: Session) -> None:
    (app.settings.folder / ".wepppy-20260329-120000.dump.partial").touch()
    make(app)
    assert "which an interrupted run left" in app.report.out.getvalue()
    assert not [each for each in files(app) if each.endswith(".partial")]


def test_a_backup_in_whose_middle_another_database_becomes_live_is_made_of_that(
    app: Any, filled: Session, server: Server
) -> None:
    filled.close()
    # It waits for a lock until its session is ended, as a switchover does.
    holder = server.connect("wepppy")
    execute(holder, "BEGIN; LOCK TABLE public.run")
    made: list[Manifest] = []
    thread = threading.Thread(target=lambda: made.append(make(app)[0]))
    thread.start()
    with server.connect("postgres") as session:
        waiting = "SELECT pid FROM pg_stat_activity WHERE datname = 'wepppy' AND wait_event_type = 'Lock'"
        deadline = time.monotonic() + 60
        while not column(session, waiting):
            assert time.monotonic() < deadline
        execute(session, "CREATE DATABASE beside")
        with server.connect("beside") as beside:
            execute(beside, "CREATE TABLE public.other AS SELECT 1 AS id")
        lock = staging.take_lock(server, "wepppy", app.report)
        execute(session, "BEGIN; ALTER DATABASE beside RENAME TO other")
        # The holder last: the backup must not go on meanwhile.
        others = "SELECT pid FROM pg_stat_activity WHERE datname = 'wepppy' ORDER BY pid = "
        execute(session, f"SELECT pg_terminate_backend(pid, 5000) FROM ({others}{holder.info.backend_pid}) o")
        execute(
            session, "ALTER DATABASE wepppy RENAME TO before; ALTER DATABASE other RENAME TO wepppy; COMMIT"
        )
        lock.release()
    thread.join(60)
    assert made[0].tables == {"public.other": 1}
    assert len(files(app)) == 4


def test_how_a_backup_went_is_recorded_and_told(
    app: Any, filled: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(webhook, "send", lambda _app, event, **message: told.append(message))
    made = back_up(app, by_hand=True)
    app.server = Server("127.0.0.1", "1", "wepppy")
    with pytest.raises(Problem):
        back_up(app)
    by_hand, own = app.catalog.read(ATTEMPT_BY_HAND, Attempt), app.catalog.read(ATTEMPT, Attempt)
    assert (by_hand.ok, by_hand.name) == (True, made.name)
    assert (own.ok, own.ended is None) == (False, False)
    assert "no server answers" in own.problem
    assert [(each["ok"], each.get("rows"), each["by_hand"]) for each in told] == [
        (True, 1007, True),
        (False, None, False),
    ]


def test_a_collapse_that_was_accepted_stands_in_the_manifest(app: Any, live: Session) -> None:
    made = back_up(app, by_hand=True, accept_collapse=True)
    assert made.collapse_accepted
