"""`bare-metal-migrate`: the database of a server outside the stack becomes the stack's own, proven equal.

The source is read in one snapshot, loaded beside the live database, compared, and switched over to. Offline its tables
are locked meanwhile; with --live it goes on being written until the cutover (logical replication). The work is the
program's, in a container on this machine's own network (service `mover`); what it prepared it undoes by itself when
this process ends.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from scripts.base import files
from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError, refuse, usage
from scripts.base.host import LOCAL_HOST, Host, engine_is_elsewhere, free_port_numbers
from scripts.database import recovery, switchover, systemd
from scripts.database.sidecar_client import ProgramRun
from scripts.database.switchover import Application, confirmed, report, switch_over, upgrade
from scripts.engine import database_server
from scripts.engine.compose import Compose
from scripts.engine.database_server import DATABASE
from scripts.engine.sidecar import SERVICE
from scripts.prepare import lock
from scripts.prepare.build import build
from scripts.settings import secret_files

MOVER = "mover"
# Where the mover's container sees the folder of the source's socket.
SOCKETS = "/source"
LOCAL = ("", "localhost", "127.0.0.1", "::1")
# How long a server that was just started may take until it answers: a unit counts as started before that.
START_SECONDS = 60
# In the order in which they happen.
PHASES = ("dump", "load", "compare", "follow", "cutover", "downtime")

Units = Callable[..., AbstractContextManager[systemd.Unit]]


@dataclass(frozen=True)
class Options(switchover.Options):
    """The flags of `bare-metal-migrate` that do not say where the source is."""

    service: str = systemd.USUAL
    live: bool = False
    stop_source: bool = False


@dataclass(frozen=True)
class SourceServer:
    """A server outside the stack, and the database on it. password: empty where none is asked for."""

    host: str
    port: int
    database: str
    user: str
    # Tracebacks and failing tests show representations.
    password: str = field(repr=False)
    socket_dir: Path | None
    uid: int
    gid: int

    @property
    def local(self) -> bool:
        return self.socket_dir is not None or self.host in LOCAL

    @property
    def description(self) -> str:
        return f"{self.database} at {self.socket_dir or self.host} port {self.port} as {self.user}"


def source_server(
    host: str, port: int, database: str, user: str, *, password_file: str = "", socket_dir: str = ""
) -> SourceServer:
    """Return the source that the flags name. Raise StackError.

    Over a socket the server may ask the kernel who comes (peer): the account named like the database user shall.
    """
    if not 1 <= port <= 65535:
        usage(f"--port={port} is no port", "give a number from 1 to 65535")
    if socket_dir and host not in LOCAL:
        usage(f"--socket-dir is on this machine and --host={host} is not", "give one of the two")
    for flag, value in (("--dbname", database), ("--user", user)):
        if not value:
            usage(f"{flag} is empty", "name the database and the user of the source, as for psql")
    folder = (Path.cwd() / Path(socket_dir).expanduser()).resolve() if socket_dir else None
    if ":" in str(folder):
        usage(f"{folder} has a colon in its name, which no container can be given", "use --host instead")
    uid, gid = os.getuid(), os.getgid()
    if folder:
        with suppress(KeyError):
            uid, gid = pwd.getpwnam(user)[2:4]
    password = _password(Path.cwd() / Path(password_file).expanduser()) if password_file else ""
    return SourceServer(host or "localhost", port, database, user, password, folder, uid, gid)


def _password(path: Path) -> str:
    """Return the first line of the file. Raise StackError when it is missing, empty or readable for others."""
    password = secret_files.first_line(path, ExitCode.REFUSED)
    if (mode := path.stat().st_mode & 0o777) & 0o077:
        what = f"others may read the password file {path} (mode {mode:04o})"
        refuse(what, f"chmod 0600 {path}, and think of who may have read it")
    if not password:
        refuse(f"the password file {path} begins with an empty line", "write the password as its first line")
    return password


def migrate(
    compose: Compose,
    console: Console,
    source: SourceServer,
    options: Options,
    *,
    application: Callable[[Compose], Application] = Application,
    units: Units = systemd.as_found,
    host: Host = LOCAL_HOST,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Move the database. Raise StackError, which says what is live."""
    if engine_is_elsewhere(compose.environment):
        what = "DOCKER_HOST names an engine on another machine, which does not reach this one's server"
        refuse(what, "run this on the engine's machine, with --host naming this one")
    record = _Record(compose, source, clock)
    name = options.service if source.local else ""
    needed = options.stop_source or name not in ("", systemd.USUAL)
    _ = compose.rendering  # begun beside the questions to the engine
    with lock.sole(compose), units(name, compose.runner, console, needed=needed) as unit:
        # Before the stack's database, which would take the port that the source is about to listen on.
        starting = bool(unit.started_by_us)
        if source.socket_dir and not source.socket_dir.is_dir():
            # The engine would make it.
            what = f"there is no folder {source.socket_dir}"
            refuse(
                what, "the source's unix_socket_directories says where its socket is; is the server running?"
            )
        recovery.finish(compose, console)
        require_database(compose, console, host)
        command, flags = mover(source, options, starting=starting)
        with _cleaned(compose, console, source, command, flags) as run:
            plan = run.ready()
            show_plan(console, source, plan)
            database = plan["target"]["database"]
            question = f"replace the stack's database {database} by this one? It is kept beside it"
            again = console.again("bare-metal-migrate", "--yes")
            if not confirmed(console, plan, question, again, options):
                return
            moved = _move(run, options, application(compose), record)
        # Once nobody of ours is connected any more, whom a server may wait for.
        stopped = options.stop_source and unit.stop()
    for note in moved["notes"]:
        console.warn(note)
    phases = moved["phases"]
    seconds = ", ".join(f"{phase} {phases[phase]:.1f} s" for phase in PHASES if phase in phases)
    text = (
        f"moved: {moved['rows']} rows in {len(moved['tables'])} tables, {moved['large_objects']} large objects\n"
        f"equal: {moved['equal']}\n"
        f"time:  {seconds}; the application was away for {moved['seconds']:.2f} s\n"
        f"kept:  {moved['kept']}, `invoke db-rollback` brings it back\n"
        f"report {record.path}"
    )
    report(console, record.document(moved, switched=True, source_stopped=stopped), text)


@contextmanager
def _cleaned(
    compose: Compose, console: Console, source: SourceServer, command: list[str], flags: list[str]
) -> Iterator[ProgramRun]:
    """Run the program; what it left at the source when it was killed is removed: a slot there makes it keep its log."""

    def started(*more: str) -> ProgramRun:
        run = ProgramRun(compose, console, [*command, *more], options=flags, service=MOVER)
        # Over its input alone: neither arguments nor variables of a container are secret.
        run.send(json.dumps(source.password))
        return run

    run = started()
    try:
        with run:
            yield run
    finally:
        # Whatever is told of it meanwhile: what is live was perhaps asked in vain.
        if run.was_killed:
            try:
                with started("--clean") as cleaning:
                    cleaning.result()
            except StackError as error:
                console.warn(f"{error.what}; the next bare-metal-migrate removes what is left at the source")


def mover(source: SourceServer, options: Options, *, starting: bool) -> tuple[list[str], list[str]]:
    """Return the program's command and the flags of `docker compose run` for it.

    It runs as the account that the source's peer authentication knows, and sees the folder of its socket alone.
    """
    host = SOCKETS if source.socket_dir else source.host
    command = ["migrate", "--host", host, "--port", str(source.port), "--user", source.user]
    command += ["--dbname", source.database]
    command += ["--patience", str(START_SECONDS)] if starting else []
    command += [*(["--live"] if options.live else []), *options.of_program]
    flags = ["--user", f"{source.uid}:{source.gid}"]
    flags += ["--volume", f"{source.socket_dir}:{SOCKETS}:ro"] if source.socket_dir else []
    return command, flags


def _move(run: ProgramRun, options: Options, application: Application, record: _Record) -> Mapping[str, Any]:
    run.send("go")
    prepared = run.ready()
    run.console.say(
        f"beside and compared: {prepared['rows']} rows in {prepared['tables']} tables are equal; switching over"
    )
    # Before: what was compared is on record whatever happens to this process, or to its disk, later.
    record.write(prepared["answer"], switched=False)
    try:
        if prepared["upgrade"]:
            if options.live:
                run.send("lock")  # the source, before a schema changes that its changes arrive in
                run.ready()
            upgrade(run.compose, run.console, prepared["staging"])
        moved = switch_over(run, prepared["live_id"], application, options, goes_back=not options.live)
    except StackError as error:
        if error.exit_code == ExitCode.REFUSED:
            record.path.unlink(missing_ok=True)
        raise
    try:
        record.write(moved, switched=True)
    except StackError as error:
        run.console.warn(f"{error.what}; it holds what was compared, and not that it was switched over to")
    return moved


def require_database(compose: Compose, console: Console, host: Host) -> None:
    """Start the stack's database when it does not run, published elsewhere when the source holds its port.

    Raise StackError when it does not come up.
    """
    secret_files.ensure(compose)
    external = database_server.is_external(compose)
    services = [SERVICE] if external else [DATABASE, SERVICE]
    needed = [compose.catalogue.services[name].image for name in services]
    if compose.engine.images(needed) < set(needed):
        build(compose, console, services)
    if external or database_server.is_running(compose):
        return
    for port in compose.catalogue.services[DATABASE].ports:
        if host.bind_problem(port.address or "0.0.0.0", port.number):  # noqa: S104 - what an empty address means
            (free,) = free_port_numbers(1)
            who = host.listener(port.number) or "another process"
            console.warn(
                f"port {port.number} is taken by {who}: the stack's database is on port {free} for now. Once the old "
                f"server is stopped, `invoke compose-up` brings it to {port.number}; or set PORT_POSTGRES in .env"
            )
            compose.overrides["PORT_POSTGRES"] = free
    database_server.require_running(compose, console)


def show_plan(console: Console, source: SourceServer, plan: Mapping[str, Any]) -> None:
    """Tell what would be moved, where to, what it takes and how long it will take."""
    of_source, target, seconds = plan["source"], plan["target"], plan["estimated_seconds"]
    extensions = ", ".join(f"{each['name']} {each['version']}" for each in of_source["extensions"]) or "none"
    locked = "is written on" if plan["live"] else "can be read and not be written"
    size = decimal(of_source["bytes"])
    free_for_dump, free_for_server = (
        "unknown" if plan[key] < 0 else decimal(plan[key]) for key in ("free_for_dump", "free_for_server")
    )
    console.say(
        f"from      {source.description}\n"
        f"          PostgreSQL {of_source['server_version']}, {size}, {of_source['tables']} tables, "
        f"{of_source['large_objects']} large objects, extensions: {extensions}\n"
        f"to        {target['database']} of the stack, PostgreSQL {target['server_version']}, "
        f"{decimal(target['bytes'])} now, which is kept\n"
        f"roles     {', '.join(plan['roles_to_make']) or 'none'} to be made, without log-in\n"
        f"disk      about {decimal(plan['estimated_dump_bytes'])} for the dump ({free_for_dump} free), "
        f"{size} for the database ({free_for_server} free)\n"
        f"time      about {seconds['dump'] + seconds['load'] + seconds['compare']} s beside the running application "
        f"with {plan['jobs']} jobs, in which the source {locked}; then less than a second of downtime"
    )
    for note in plan["notes"]:
        console.warn(note)


class _Record:
    """The file that a move leaves, with rows and hash of every table."""

    def __init__(self, compose: Compose, source: SourceServer, clock: Clock) -> None:
        self.source = source
        self.clock = clock
        self.path: Path = compose.data_dir / "moves" / f"{self._now():%Y%m%d-%H%M%S}.json"

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def document(
        self, moved: Mapping[str, Any], *, switched: bool, source_stopped: bool = False
    ) -> dict[str, Any]:
        return {
            "ok": switched,
            "switched_over": switched,
            **moved,
            "from": self.source.description,
            "application_away_seconds": round(moved["seconds"], 2) if switched else None,
            "seconds": moved["phases"],
            "source_stopped": source_stopped,
            "ended": f"{self._now():%Y-%m-%dT%H:%M:%SZ}",
            "report": str(self.path),
        }

    def write(self, moved: Mapping[str, Any], *, switched: bool) -> None:
        text = json.dumps(self.document(moved, switched=switched), indent=2, ensure_ascii=False)
        files.write(self.path, f"{text}\n", 0o600)
