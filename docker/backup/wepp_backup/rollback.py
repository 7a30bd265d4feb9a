"""Rollback and kept databases; what every switchover has around it: the word before it, keep, drop or back after it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import psycopg

from wepp_backup.app import App
from wepp_backup.caller import CalledOff, uninterrupted
from wepp_backup.events import Problem, refuse, usage
from wepp_backup.markers import choose, list_kept
from wepp_backup.server import execute, maintenance, plain, quote
from wepp_backup.staging import Lock, take_lock
from wepp_backup.switchover import Switched, live_oid, refuse_foreign, switch_over

Summary = Callable[[str, Switched], dict[str, Any]]


def flags_of_switch(parser: ArgumentParser) -> None:
    """Add the flags of every command that switches over."""
    parser.add_argument(
        "--clients", type=lambda text: text.split(","), help="addresses of the stack's containers: A,B"
    )
    parser.add_argument("--force", action="store_true", help="end foreign sessions")


def expect(app: App, wanted: str) -> str:
    """Return what follows the wanted word, "" for nothing. Raise Problem for another word: it is called off."""
    word, _, rest = app.caller.word().partition(" ")
    if word != wanted:
        raise refuse("it was called off; nothing was changed", "run it again")
    return rest


def expect_switch(app: App, lock: Lock, flags: Namespace) -> None:
    """Wait for `switch`, or `switch ADDRESS,...`: the stack's addresses by now. Raise Problem for foreign sessions."""
    addresses = expect(app, "switch")
    lock.renew()  # the server may have been lost while somebody outside was waited for
    refuse_foreign(lock, addresses.split(",") if addresses else flags.clients, flags.force)


def settle(
    app: App, lock: Lock, switch: Callable[[], Switched], summary: Summary = lambda _word, _done: {}
) -> None:
    """Switch over and report it; wait for the last word: `keep` the database from before, `drop` it, or go `back`.

    Who is gone by then leaves the new database live and the one from before kept. summary: further members of the
    answer, by the word and the last switchover; made before anything is dropped. Raise Problem.
    """
    done: Switched | None = None
    try:
        with uninterrupted():
            done = switch()
            app.report.ready(asdict(done))
        word = app.caller.word()
    except (CalledOff, Problem):
        if done is None:
            raise
        word = "keep"
    with uninterrupted():
        if word == "back" and done.kept:
            lock.renew()  # the server may have been lost since
            refuse_foreign(lock, None, force=True)
            done = switch_over(lock, done.kept, about="switched back: the application did not work with it")
        answer = asdict(done)
        try:
            answer |= summary(word, done)
            if word == "drop" and done.kept:
                lock.renew()
                drop_kept(lock, done.kept)
                answer["kept"] = ""
        except (Problem, psycopg.Error) as error:
            # What was asked for is done; this is the rest of it.
            app.report.message(f"{plain(error)}; {done.kept} is kept, `invoke db-prune` drops it")
        app.caller.finish()  # who hears the answer leaves, which calls nothing off any more
        app.report.result(answer, f"{done.database} is live")


def flags_of_rollback(parser: ArgumentParser) -> None:
    """Add the flags of `rollback`."""
    parser.add_argument("--to", default="", help="the kept database; without it the newest")
    flags_of_switch(parser)


def run_rollback(app: App, flags: Namespace) -> None:
    """Make a kept database the live one again: ready (what would be live), `switch`; ready, `keep` or `back`."""
    lock = take_lock(app.server, app.settings.database, app.report)
    app.cleanup.callback(lock.release)
    chosen = choose(list_kept(lock.session, lock.live), flags.to)
    app.report.ready({**chosen._asdict(), "live_id": live_oid(lock.session, lock.live)})
    expect_switch(app, lock, flags)
    about = f"replaced by a rollback to {chosen.name}"
    settle(app, lock, lambda: switch_over(lock, chosen.name, about=about))


def run_live(app: App, _flags: Namespace) -> None:
    """Tell which database is live, by its OID (0: none), and which was kept last, as soon as the server is there."""
    name = app.settings.database
    # Any role may know, and the superuser would be tried, which nobody waits for.
    with app.application.connect_again(maintenance(name), app.report.lost) as session:
        oid, kept = live_oid(session, name), [each.name for each in list_kept(session, name)]
    answer = {"database": name, "id": oid, "kept": kept[0] if kept else ""}
    app.report.result(answer, f"{name} has the OID {oid}, kept last: {answer['kept'] or '-'}")


def run_kept(app: App, _flags: Namespace) -> None:
    """Tell what is kept."""
    with app.server.connect(app.settings.database) as session:
        found = list_kept(session, app.settings.database)
    app.report.result([each._asdict() for each in found], f"{len(found)} databases are kept")


def flags_of_forget(parser: ArgumentParser) -> None:
    """Add the flags of `forget`."""
    parser.add_argument("--name", action="append", default=[], help="a kept database; may be given again")


def run_forget(app: App, flags: Namespace) -> None:
    """Drop the named kept databases for good."""
    lock = take_lock(app.server, app.settings.database, app.report)
    app.cleanup.callback(lock.release)
    for name in flags.name:
        drop_kept(lock, name)
    app.report.result(flags.name, f"{len(flags.name)} databases were dropped")


def drop_kept(lock: Lock, name: str) -> None:
    """Remove a kept database for good. Raise Problem when it is none of this live database's."""
    if name not in [each.name for each in list_kept(lock.session, lock.live)]:
        raise usage(f"{name} is not a kept database of {lock.live}", "see `invoke db-prune --dry-run`")
    execute(lock.session, f"DROP DATABASE IF EXISTS {quote(name)} WITH (FORCE)")
