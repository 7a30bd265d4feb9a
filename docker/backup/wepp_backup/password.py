"""The application's password at the server: whether passwords log in, and giving the role another one.

Both commands report ready (the role) and read one word of JSON: {"passwords": [...], "verifier": "SCRAM-SHA-256$..."}.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from dataclasses import replace

from wepp_backup.app import App
from wepp_backup.events import Problem, refuse, usage
from wepp_backup.server import Server, execute, literal, maintenance, quote, refuses_login

# Whoever changes a password waits here: a program that was killed leaves its session behind, which does what it was
# told when it can, and the older word would win.
CHANGE_LOCK = "hashtextextended('wepp-stack: password of a role', 0)"


def flags_of_login(parser: ArgumentParser) -> None:
    """Add the flags of `login`."""
    parser.add_argument("--superuser", action="store_true", help="as the superuser")


def run_login(app: App, flags: Namespace) -> None:
    """Tell whether the container's own password logs in as the application's role, and which of the given ones do.

    Result: {"own": bool, "why": str, "given": [bool, ...]}.
    """
    server = app.application
    if flags.superuser:
        server = replace(server, user=app.settings.superuser)
    passwords, _ = _receive(app, server)
    why = _log_in(app, server)
    given = [not _log_in(app, server, each) for each in passwords]
    app.report.result({"own": not why, "why": why, "given": given}, f"logged in: {not why}")


def run_password(app: App, _: Namespace) -> None:
    """Give the application's role another password, which itself is never here: the server gets its verifier.

    The word has that, by RFC 5803, and passwords of which one logs in now. Result: the role.
    """
    server = app.application
    passwords, verifier = _receive(app, server, "SCRAM-SHA-256$")
    # Several statements at once are one transaction.
    role = quote(server.user)
    change = f"SELECT pg_advisory_xact_lock({CHANGE_LOCK}); ALTER ROLE {role} PASSWORD {literal(verifier)}"
    if all(_log_in(app, server, each, change) for each in passwords):
        raise refuse(
            f"the server at {server.host}:{server.port} refuses the password of {server.user}",
            "write the password that the server knows into the stack's secret file postgres_password",
        )
    app.report.result(server.user, f"{server.user} has another password")


def _receive(app: App, server: Server, beginning: str = "") -> tuple[list[str], str]:
    """Return the word's passwords, and its verifier, which has that beginning.

    Raise Problem, which does not tell the word: it holds a password.
    """
    app.report.ready(server.user)
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        received = json.loads(app.caller.word())
        passwords, verifier = received["passwords"], received.get("verifier", "")
        are_texts = isinstance(passwords, list) and all(isinstance(each, str) for each in passwords)
        if are_texts and verifier.startswith(beginning):
            return passwords, verifier
    what = "the word on standard input is not what this command waits for"
    raise usage(what, "this is a command for the tasks, see `invoke --list`")


def _log_in(app: App, server: Server, password: str | None = None, statement: str = "SELECT") -> str:
    """Run a statement after a login with a password, None: the container's own; return why that does not log in.

    Raise Problem when that cannot be told: the server does not answer, or refuses whoever comes from here.
    """
    other = {} if password is None else {"password": password}
    try:
        with server.connect(maintenance(app.settings.database), **other) as session:
            execute(session, statement)
    except Problem as problem:
        if refuses_login(problem):
            return problem.what
        raise problem.midway() from problem
    return ""
