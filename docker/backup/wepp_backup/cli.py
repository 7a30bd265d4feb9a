"""The commands: `wepp-backup [--json [--held]] COMMAND [flags]`. Exit codes: see events.py.

--held: the command begins once a word has come on standard input; what it needs is imported by then.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

from wepp_backup.app import App, Settings
from wepp_backup.caller import CalledOff, Caller
from wepp_backup.events import BUG, Problem, Reporter, fail, usage

# Commands by name: the module that has `flags_of_NAME(parser)` (if there are any) and `run_NAME(app, flags)`. Imported
# when it is asked for: the health check runs for ever and needs no database driver.
COMMANDS = {
    "dump": ("backup", "make one verified backup now"),
    "keep": ("schedule", "make backups and restore tests whenever they are due, and prune"),
    "list": ("health", "list the backups"),
    "health": ("health", "tell whether the backups are well"),
    "drill": ("restore_test", "restore a backup as a test: [--dump PATH|NAME|latest]"),
    "verify": ("verify", "read a whole dump and say what it is: --dump PATH|NAME"),
    "restore": ("restore", "load a dump beside the live database and switch over: --dump PATH|NAME|latest"),
    "rollback": ("rollback", "make a kept database the live one again"),
    "live": ("rollback", "tell which database is live, by its OID, and which was kept last"),
    "kept": ("rollback", "list the databases that earlier switchovers kept"),
    "forget": ("rollback", "drop kept databases for good: --name NAME ..."),
    "migrate": ("migrate", "move the database of a server outside the stack into it"),
    "enter": ("enter", "write the password file, then become another program: COMMAND ARGUMENT..."),
    "login": ("password", "log in as the services do, and with passwords given on standard input"),
    "password": ("password", "give the application's role another password, all of it from standard input"),
}


def main(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    as_json = arguments[:1] == ["--json"]
    is_held = as_json and arguments[1:2] == ["--held"]
    report = Reporter(as_json=as_json)
    try:
        command, flags = _parsed(list(arguments[as_json + is_held :]))
        app = App(Settings(os.environ), report, Caller(sys.stdin if as_json else None))
    except (Problem, CalledOff) as error:
        found = error if isinstance(error, Problem) else fail("it was called off", "run the command again")
        report.problem(found)
        return found.exit_code
    # Cleanup comes after the answer: a server that hangs must not keep the caller from hearing it.
    with app.cleanup:
        try:
            if is_held:
                app.caller.word()
            command(app, flags)
        except (Exception, CalledOff) as error:
            found = app.caller.problem() if isinstance(error, CalledOff) else _problem_of(error)
            report.problem(found)
            return found.exit_code
        finally:
            app.caller.finish()
    return 0


def _problem_of(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    import psycopg

    from wepp_backup import programs

    if isinstance(error, OSError | programs.ProgramError | psycopg.Error):
        fix = "see the lines above and the server's log, then run it again"
        return programs.explained(error, fix)
    import traceback

    traceback.print_exception(error)
    fix = "this is a bug of the program; the lines above belong into a report"
    return Problem(f"{type(error).__name__}: {error}", fix, BUG)


def _parsed(arguments: list[str]) -> tuple[Callable[[App, Namespace], None], Namespace]:
    if not arguments or arguments[0] not in COMMANDS:
        print("wepp-backup [--json] COMMAND [flags]", file=sys.stderr)
        for name, (_, about) in sorted(COMMANDS.items()):
            print(f"  {name:<10} {about}", file=sys.stderr)
        raise usage(f"{' '.join(arguments)!r} is no command of wepp-backup", "choose one of the commands")
    name = arguments[0]
    module = import_module(f"wepp_backup.{COMMANDS[name][0]}")
    parser = _Parser(prog=f"wepp-backup {name}", allow_abbrev=False)
    getattr(module, f"flags_of_{name}", lambda _: None)(parser)
    return getattr(module, f"run_{name}"), parser.parse_args(arguments[1:])


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise usage(f"{self.prog}: {message}", "see `wepp-backup COMMAND --help`")
