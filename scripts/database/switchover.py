"""A switchover as its user sees it: the application is asked before and after it, and what is told is what is live.

No container is stopped. The program at the database switches over in one transaction. Whatever is killed around that
moment, the program itself included, the server knows whether it was committed: it is asked before anything is claimed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from scripts.base import files
from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError, fail
from scripts.database.sidecar_client import ProgramRun, answer
from scripts.engine import database_server, sidecar
from scripts.engine.catalogue import PROXY, Service
from scripts.engine.compose import Compose
from scripts.engine.failure import details, explain
from scripts.engine.proof import Fetch, Site, fetch, prove
from scripts.settings import secret_ids

# How long the application may take to be well after a switchover.
WAIT_SECONDS, PAUSE_SECONDS = 30.0, 0.25
# Lists the containers that --quiesce stopped, in the stack's data folder.
STOPPED = "stopped-writers"
# What a worker gets to finish its job; what takes longer is queued again.
STOP_SECONDS = 10
ROLLBACK = "`invoke db-rollback` brings the one from before back"
# Counts the jobs that workers are at; RQ keeps them in one sorted set for each queue.
IN_PROGRESS = (
    'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" redis-cli -n 9 EVAL '
    "\"local n = 0 for _, key in ipairs(redis.call('KEYS', 'rq:wip:*')) do n = n + redis.call('ZCARD', key) end "
    'return n" 0'
)
REDIS = "redis"
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Options:
    """Flags of a task that switches over. jobs: 0 for one each processor. keep: the database from before."""

    yes: bool = False
    dry_run: bool = False
    jobs: int = 0
    force: bool = False
    quiesce: bool = False
    keep: bool = True

    @property
    def of_program(self) -> list[str]:
        return [*(["--jobs", str(self.jobs)] if self.jobs else []), *(["--force"] if self.force else [])]


def clients(compose: Compose) -> str | None:
    """Return the addresses that the stack's own sessions come from; None where the server is not the stack's."""
    if database_server.is_external(compose):
        return None
    found = compose.engine.containers(compose.project)
    return ",".join(sorted({address for each in found for address in each.addresses}))


def confirmed(
    console: Console, plan: Mapping[str, Any], question: str, command: str, options: Options
) -> bool:
    """Return True once the user wants the switchover; after a dry run, whose answer is the plan, False.

    command: the one that says yes in a script. Raise StackError (refused, nothing changed).
    """
    if options.dry_run:
        console.answer({"ok": True, "dry_run": True, "plan": plan}, "dry run: nothing was changed")
    else:
        console.require_yes(options.yes, question, command)
    return not options.dry_run


def upgrade(compose: Compose, console: Console, staging: str) -> None:
    """Bring a staging database's schema to the revision of the source tree. Raise StackError (failed)."""
    console.say("its schema is of another revision than the application's: bringing it up to date")
    # A tree's own address of a database would win over the stack's settings, and be the live one's.
    variables = {"POSTGRES_DB": staging, "SQLALCHEMY_DATABASE_URI": "", "DATABASE_URL": ""}
    flags = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    if not compose.stream("run", "--rm", "--no-deps", "-T", *flags, "db-upgrade").ok:
        fail(
            "its schema could not be brought up to date, see above; nothing was switched over",
            "check out the source of the dump's time, or choose another dump",
        )


@contextmanager
def writers_stopped(compose: Compose, console: Console) -> Iterator[None]:
    """Stop the running services that write to the database; start them again when the block is left, however it is.

    What is stopped is written down first: whatever kills the task, the next one or `compose-up` starts it again. Raise
    StackError when they cannot be stopped or started. To be entered with the project's lock held.
    """
    services = compose.catalogue.services.values()
    writers = {
        each.name for each in services if each.writes == database_server.DATABASE and not each.one_shot
    }
    names = [each.name for each in compose.containers(writers, running=True)]
    if not names or compose.runner.dry:
        yield
        return
    files.write(compose.data_dir / STOPPED, "\n".join(names), 0o600)
    try:
        console.say(f"stopping {', '.join(names)}")
        if problem := compose.engine.change("stop", "-t", str(STOP_SECONDS), *names):
            fail(
                f"not stopped: {', '.join(names)} ({problem})",
                "see `invoke compose-status`; nothing was changed in the database",
            )
        yield
    finally:
        with uninterrupted(console):
            start_writers(compose, console)


def start_writers(compose: Compose, console: Console) -> None:
    """Start what a task stopped and did not start again; nothing where none is written down. Raise StackError."""
    file = compose.data_dir / STOPPED
    if compose.runner.dry or not file.exists():
        return
    there = [each.name for each in compose.engine.containers(compose.project)]
    names = [name for name in file.read_text(encoding="utf-8").splitlines() if name in there]
    if names:
        console.say(f"starting {', '.join(names)}")
        # One that runs still may be under a stop that the engine goes on with though its caller was killed: a restart
        # waits for that.
        if problem := compose.engine.change("restart", "-t", str(STOP_SECONDS), *names):
            fail(
                f"not started again: {', '.join(names)} ({problem})",
                "see `invoke compose-logs`, then `invoke compose-up`",
            )
    file.unlink()


@contextmanager
def uninterrupted(console: Console) -> Iterator[None]:
    """Answer Ctrl-C with a remark while the block runs: what it does must not stay half done."""
    earlier = signal.signal(signal.SIGINT, lambda *_: console.say("one moment: this has to be finished"))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)


class Application:
    """The services that run: asked through the proxy where it runs, else by their own health checks."""

    def __init__(self, compose: Compose, clock: Clock = SYSTEM_CLOCK, *, fetching: Fetch = fetch) -> None:
        self.compose = compose
        self.clock = clock
        self.fetching = fetching

    def well(self) -> list[Service]:
        """Return the running services that answer as they should now; others are not blamed on the switchover."""
        catalogue = self.compose.catalogue
        running = {each.service for each in self.compose.containers(running=True)}
        services = [each for name, each in catalogue.services.items() if name in running]
        unhealthy = set(self._unhealthy(services))
        if PROXY in running and (address := catalogue.proxy_address()):
            site = Site(address, self.clock, self.fetching)
            visits = [*site.probes(services, seconds=0), *site.pages(services)]
            unhealthy |= {each.service for each in visits if not each.ok}
        return [each for each in services if each.name not in unhealthy]

    def check(self, services: Sequence[Service]) -> None:
        """Raise StackError (failed) unless these services answer as they should, now or within half a minute."""
        deadline = self.clock.monotonic() + WAIT_SECONDS
        while unhealthy := self._unhealthy(services):
            if self.clock.monotonic() >= deadline:
                failed = explain(self.compose, sorted(unhealthy))
                fail(
                    f"not healthy: {', '.join(f'{name} ({why})' if why else name for name, why in unhealthy.items())}",
                    "see `invoke compose-logs`",
                    details=details(failed),
                )
            self.clock.sleep(PAUSE_SECONDS)
        prove(self.compose, services, self.clock, fetching=self.fetching)

    def _unhealthy(self, services: Sequence[Service]) -> dict[str, str]:
        """Return why those of the services that log in to the database are not healthy, by name."""
        stores = {database_server.DATABASE, sidecar.SERVICE}
        names = {each.name for each in services if secret_ids.DATABASE in each.secrets} - stores
        containers = [each for each in self.compose.containers(running=True) if each.service in names]
        found = dict.fromkeys(names - {each.service for each in containers}, "does not run")
        for each in containers:
            if each.health_test and not (result := self.compose.engine.run_health(each)).ok:
                found[each.service] = result.complaint
        return found


def switch_over(
    run: ProgramRun, before: int, application: Application, options: Options, *, goes_back: bool = True
) -> Mapping[str, Any]:
    """Have the program switch over; switch back when the application, well before, does not work with it.

    before: OID of the database that is live until then, which is dropped once the application works, unless it is to be
    kept. goes_back: False where what was written since must not be left behind. Return the program's answer with
    `seconds` for which nobody was let in and `jobs`, the number of jobs in progress (None: not known). Raise
    StackError, which says what is live.
    """
    compose, console, switchover = run.compose, run.console, _Switchover(run, before)
    well = application.well()
    began = application.clock.monotonic()
    try:
        try:
            with writers_stopped(compose, console) if options.quiesce else nullcontext():
                seconds = switchover.switch()
            console.say(f"switched over in {seconds:.2f} s; asking the application")
            jobs = jobs_in_progress(compose)
            application.check(well)
            seconds = application.clock.monotonic() - began if options.quiesce else seconds
        except StackError as error:
            if goes_back and switchover.switched.get("kept"):
                switchover.go_back(error)
            switchover.explain(error)
        return {**switchover.end("keep" if options.keep else "drop"), "seconds": seconds, "jobs": jobs}
    except KeyboardInterrupt as error:
        switchover.explain(error)


class _Switchover:
    """What the program was told, and what is live. switched: its answer once it has told of the switchover."""

    def __init__(self, run: ProgramRun, before: int) -> None:
        self.run = run
        self.before = before
        self.switched: Mapping[str, Any] = {}

    def switch(self) -> float:
        """Have it switch over; return the seconds in which nobody was let in."""
        addresses = clients(self.run.compose)
        self.run.send("switch" if addresses is None else f"switch {addresses}")
        self.switched = self.run.ready()
        return float(self.switched["seconds"])

    def end(self, word: str) -> Mapping[str, Any]:
        """Say the last word and return the answer; what became of one that was killed is asked of the server."""
        self.run.send(word)
        try:
            done: Mapping[str, Any] = self.run.result()
            # Now: a Ctrl-C later, while it tidies up, would not be told what is live.
            self.run.leave()
            return done
        except StackError as error:
            found = self._look(error)
            if (found["id"] == self.before) != (word == "back"):
                raise
            self.run.console.warn(error.what)
            return found

    def go_back(self, error: StackError) -> NoReturn:
        """Make the database from before live again and raise what the application lacked, or that it is not live."""
        self.run.console.warn(f"{error.what}; switching back")
        # A Ctrl-C here would leave nobody to say which of the two is live.
        with uninterrupted(self.run.console):
            try:
                done = self.end("back")
            except StackError as failed:
                what = f"the application does not work with it ({error.what}), and it was not switched back"
                fix, code = failed.fix, ExitCode.FAILED
                self.explain(StackError(f"{what} ({failed.what})", fix, code, details=failed.details))
        rows = done.get("rows_written", 0)
        written = f"; {rows} rows were written to it meanwhile" if rows else ""
        fail(
            f"the application does not work with it ({error.what}); the database from before is live again",
            f"{error.fix}; what was tried is kept as {done['kept']}{written}: `invoke db-prune` drops it",
            details=error.details,
            facts={"tried": done["kept"], "rows_written": rows},
        )

    def explain(self, error: StackError | KeyboardInterrupt) -> NoReturn:
        """Raise the error, with what is live where that is not the database from before."""
        refused = isinstance(error, StackError) and error.exit_code == ExitCode.REFUSED
        if refused and not self.switched:
            raise error
        # A Ctrl-C from here on would leave nobody to say which of the two is live.
        with uninterrupted(self.run.console):
            # It ends what it has begun; what it did can be seen only then.
            self.run.leave()
            found = self._look(error)
        interrupted = isinstance(error, KeyboardInterrupt)
        if found["id"] != self.before:
            fix = getattr(error, "fix", "see that all is well with it")
            raise StackError(
                f"{_reason(error)}; {_is_live(found)}",
                f"{fix}; {ROLLBACK}" if found["kept"] else fix,
                ExitCode.INTERRUPTED if interrupted else ExitCode.FAILED,
                details=getattr(error, "details", ""),
            ) from error
        if isinstance(error, StackError) and error.exit_code == ExitCode.NOT_READY:
            fail(
                f"the switchover did not take place, {found['database']} is the one from before: the server went away",
                "see the server's log (`invoke compose-logs --services=postgres`), then run it again",
                details=error.details,
            )
        raise error

    def _look(self, error: StackError | KeyboardInterrupt) -> dict[str, Any]:
        """Return what is live, told by the server as soon as it is there. Raise StackError when it does not come."""
        try:
            found: dict[str, Any] = answer(self.run.compose, self.run.console, ["live"])
        except StackError as silent:
            raise StackError(
                f"{_reason(error)}; whether the databases were switched over is not known: {silent.what}",
                "once the server runs (`invoke compose-up`), `invoke db-prune --dry-run` lists what was kept, and "
                "when: one of this minute means that they were",
                ExitCode.NOT_READY,
                details=silent.details,
            ) from error
        if self.switched and found["id"] != self.before and found["kept"] != self.switched["kept"]:
            # The one from before was dropped already; what is told is kept since an earlier switchover.
            found["kept"] = ""
        return found


def jobs_in_progress(compose: Compose) -> int | None:
    """Return how many jobs the workers are at; None where the stack's own Redis does not tell."""
    redis = compose.containers([REDIS], running=True)
    if not redis:
        return None
    command = ["docker", "exec", redis[0].name, "sh", "-c", IN_PROGRESS]
    result = compose.runner.capture(command, timeout=ANSWER_SECONDS)
    return int(result.stdout) if result.ok and result.stdout.strip().isdigit() else None


def report(console: Console, document: Mapping[str, Any], text: str) -> None:
    """Print the answer. Raise StackError (failed), with what is live, when nobody can be told any more."""
    try:
        console.answer(document, text)
    except OSError as error:
        # What is left in its buffer would be tried again at the end, and be the last word.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), console.out.fileno())
        fail(
            f"the report cannot be written ({error.strerror}); {_is_live(document)}",
            "make room where the output goes to; nothing else is left to be done",
        )


def _reason(error: StackError | KeyboardInterrupt) -> str:
    return error.what if isinstance(error, StackError) else "stopped by Ctrl-C"


def _is_live(switched: Mapping[str, Any]) -> str:
    kept = f", the one from before is kept as {switched['kept']}" if switched["kept"] else ""
    return f"the new {switched['database']} is live now{kept}"
