"""Owns `bare-metal-migrate`: the database of a server outside the stack becomes the stack's own, proven equal.

The source is dumped and hashed in one moment, loaded beside the live database, compared, and swapped in. At rest the
source is never written; with --live it goes on being written until the cut-over (logical replication).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import cluster, envfile, lock, recovery, relay, secretfiles, systemd, takeback
from scripts.bare_metal import Origin, demand_socket
from scripts.build import build
from scripts.catalogue import Catalogue
from scripts.clock import Clock, SystemClock
from scripts.compose import Compose
from scripts.consent import demand_yes
from scripts.console import Console
from scripts.dialogue import Dialogue
from scripts.doctor_engine import built_images
from scripts.envinit import free_port_numbers
from scripts.errors import ExitCode, StackError
from scripts.host import Host, LocalHost, engine_is_elsewhere
from scripts.meter import megabytes
from scripts.quiesce import Keeper, kept_running
from scripts.restore import Keeping, needs_upgrade
from scripts.sessions import DATABASE, running
from scripts.sidecar import SERVICE
from scripts.swap import swap


@dataclass(frozen=True)
class Options:
    """The flags of `bare-metal-migrate` that do not say where the source is. jobs: 0 for one each processor."""

    service: str = systemd.USUAL
    jobs: int = 0
    live: bool = False
    dry_run: bool = False
    stop_source: bool = False
    yes: bool = False
    force: bool = False


# In the order in which they happen.
PHASES = ("dump", "load", "compare", "follow", "downtime")

Units = Callable[..., AbstractContextManager[systemd.Unit]]


def migrate(
    compose: Compose,
    console: Console,
    origin: Origin,
    options: Options,
    *,
    keeping: Keeping = kept_running,
    units: Units = systemd.as_found,
    host: Host | None = None,
    clock: Clock | None = None,
) -> None:
    """Moves the database. Raises StackError; source and live database are then as before."""
    demand_bundled(compose)
    command = ["migrate", "--user", origin.user, "--dbname", origin.database]
    command += ["--jobs", str(options.jobs)] if options.jobs else []
    command += [flag for flag, wanted in (("--live", options.live), ("--force", options.force)) if wanted]
    name = options.service if origin.local else ""
    needed = options.stop_source or name not in ("", systemd.USUAL)
    with lock.sole(compose), units(name, compose.runner, console, needed=needed) as unit:
        # Before the stack's database, which would take the port that the source is about to listen on.
        starting = bool(unit.lent)
        demand_socket(origin, starting=starting)
        recovery.recover(compose, console)
        demand_database(compose, console, host or LocalHost())
        with (
            relay.leading(compose, origin, starting=starting) as lead,
            keeping(compose, console, "bare-metal-migrate") as keeper,
        ):
            command += ["--relay", lead.folder, "--relay-from-server", lead.folder_of_server]
            talk = Dialogue(compose, console, command)
            with takeback.unless_finished(keeper, talk, origin), talk:
                plan = talk.ready()
                show_plan(console, origin, plan)
                if options.dry_run:
                    document = {"ok": True, "dry_run": True, "plan": plan}
                    _answer(console, document, "dry run: nothing was changed")
                    return
                demand_yes(
                    console,
                    options.yes,
                    f"replace the stack's database {plan['target']['database']} by this one? It is kept beside it",
                    "invoke bare-metal-migrate ... --yes",
                )
                takeback.note_begin(keeper, origin, live=options.live)
                moved, downtime = _move(keeper, talk)
        # Once nobody of ours is connected any more, whom a server may wait for.
        stopped = options.stop_source and unit.stop()
    _tell(compose, console, origin, moved, downtime, stopped, clock or SystemClock())


def _move(keeper: Keeper, talk: Dialogue) -> tuple[Mapping[str, Any], float]:
    talk.say("go")
    prepared = talk.ready()
    keeper.console.say(
        f"beside and compared: {prepared['rows']} rows in {prepared['tables']} tables are equal; swapping"
    )
    takeback.note_prepared(keeper, prepared["live_id"])
    # Where the application has never run there is nothing to start, and its first start brings the schema up to date.
    upgrade = needs_upgrade(prepared) and bool(prepared["live_revision"])
    _, downtime = swap(keeper, talk, prepared["live_id"], upgrade=upgrade)
    talk.say("keep")
    return talk.result(), downtime


def demand_bundled(compose: Compose) -> None:
    """Raises StackError when the stack's database is not its own, or the engine is on another machine."""
    if compose.setting("POSTGRES_HOST", DATABASE) != DATABASE:
        raise StackError(
            f"the stack uses a server that others run: POSTGRES_HOST={compose.setting('POSTGRES_HOST')}",
            "this task moves into the stack's own server; unset POSTGRES_HOST in .env to have one",
            ExitCode.REFUSED,
        )
    if engine_is_elsewhere(compose.environment):
        raise StackError(
            "DOCKER_HOST names an engine on another machine, which does not reach this one's server",
            "run this on the engine's machine, with --host naming this one",
            ExitCode.REFUSED,
        )


def demand_database(compose: Compose, console: Console, host: Host) -> None:
    """Starts the stack's database when it does not run, published elsewhere when the source holds its port.

    Raises StackError when it does not come up.
    """
    secretfiles.write(compose)
    needed = built_images(compose.model, {DATABASE, SERVICE})
    if compose.engine.images(list(needed)) < set(needed):
        build(compose, console, [DATABASE, SERVICE])
    if running(compose, DATABASE):
        return
    for port in Catalogue.of(compose.model).services[DATABASE].ports:
        if host.bind_problem(port.address or "0.0.0.0", port.number):  # noqa: S104 - what an empty address means
            (free,) = free_port_numbers(1)
            who = host.listener(port.number) or "another process"
            console.warn(
                f"port {port.number} is taken by {who}: the stack's database is on port {free} for now. Once the old "
                f"server is stopped, `invoke compose-up` brings it to {port.number}; or set PORT_POSTGRES in .env"
            )
            compose.overrides["PORT_POSTGRES"] = free
    console.say("the database does not run: starting it")
    if not compose.stream("up", "--detach", "--wait", "--no-build", "--no-deps", DATABASE).ok:
        cluster.demand_same_major(compose)
        raise StackError(
            "the database does not start",
            f"see `invoke compose-logs --services {DATABASE}` and `invoke doctor`",
            ExitCode.NOT_READY,
        )


def show_plan(console: Console, origin: Origin, plan: Mapping[str, Any]) -> None:
    """Tells what would be moved, where to, what it takes and how long it will take."""
    source, target, seconds = plan["source"], plan["target"], plan["estimated_seconds"]
    extensions = (
        ", ".join(f"{each['name']} {each['version']}" for each in source["extensions"] or []) or "none"
    )
    beside = seconds["dump"] + seconds["load"] + seconds["compare"]
    away = "the source and the application stop" if plan["live"] else "the application stops"
    size = megabytes(source["bytes"])
    console.say(
        f"from      {origin.shown}\n"
        f"          PostgreSQL {source['server_version']}, {size}, {source['tables']} tables, "
        f"{source['large_objects']} large objects, extensions: {extensions}\n"
        f"to        {target['database']} of the stack, PostgreSQL {target['server_version']}, "
        f"{megabytes(target['bytes'])} now, which is kept\n"
        f"roles     {', '.join(plan['roles_to_make']) or 'none'} to be made, without log-in\n"
        f"disk      about {megabytes(plan['estimated_dump_bytes'])} for the dump ({_free(plan['free_for_dump'])} "
        f"free), {size} for the database ({_free(plan['free_for_server'])} free)\n"
        f"time      about {beside} s beside the running application with {plan['jobs']} jobs, "
        f"then {away} for some seconds"
    )
    for note in plan["notes"]:
        console.warn(note)


def _free(size: int) -> str:
    return "unknown" if size < 0 else megabytes(size)


def _tell(
    compose: Compose,
    console: Console,
    origin: Origin,
    moved: Mapping[str, Any],
    downtime: float,
    stopped: bool,
    clock: Clock,
) -> None:
    document = {
        "ok": True,
        **moved,
        "from": origin.shown,
        "application_away_seconds": round(downtime, 2),
        "source_stopped": stopped,
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.now())),
    }
    report = _report(compose, document, clock)
    document["report"] = str(report)
    for note in moved["notes"]:
        console.warn(note)
    seconds = ", ".join(
        f"{phase} {moved['seconds'][phase]:.1f} s" for phase in PHASES if phase in moved["seconds"]
    )
    _answer(
        console,
        document,
        f"moved: {moved['rows']} rows in {len(moved['tables'])} tables, {moved['large_objects']} large objects\n"
        f"equal: {moved['equal']}\n"
        f"time:  {seconds}; the application was away for {downtime:.1f} s\n"
        f"kept:  {moved['kept']}, `invoke db-rollback` brings it back\n"
        f"report {report}",
    )


def _report(compose: Compose, document: Mapping[str, Any], clock: Clock) -> Path:
    """Writes the report of a move, with rows and hash of every table; returns where."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(clock.now()))
    path = compose.data_dir / "moves" / f"{stamp}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    envfile.write_private(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return path


def _answer(console: Console, document: Mapping[str, Any], text: str) -> None:
    if console.as_json:
        console.document(document)
    else:
        console.text(text)
