"""Owns the pause of everything that writes to a store, and the promise that what ran before runs again afterwards.

The promise holds on every way out: success, a problem, Ctrl-C. When the task itself is killed, the guard (guard.py)
keeps it from the journal (journal.py); when the machine goes down, the next task does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from scripts import guard, journal, revive
from scripts.catalogue import Catalogue
from scripts.clock import Clock, SystemClock
from scripts.compose import Compose
from scripts.console import Console
from scripts.container import Container
from scripts.errors import ExitCode, StackError
from scripts.probe import Ask, ask
from scripts.sessions import DATABASE

# What a worker gets to finish its job (what takes longer is queued again), and the application its requests: every
# second of the latter is a second in which nobody is served.
WORKER_SECONDS = 10
WEB_SECONDS = 1

Watcher = Callable[[Compose], AbstractContextManager[None]]


@dataclass
class Pause:
    """What was stopped: names of services; seconds: how long the web application did not serve (once it does again)."""

    services: tuple[str, ...] = ()
    seconds: float = 0.0


class Keeper:
    """Keeps what ran when it was made."""

    def __init__(
        self, compose: Compose, console: Console, task: str, *, clock: Clock, asking: Ask = ask
    ) -> None:
        self.compose = compose
        self.console = console
        self.clock = clock
        self.asking = asking
        running = tuple(journal.Kept.of(each) for each in _running(compose, with_database=True))
        self.entry = journal.Entry(task, os.getpid(), clock.now(), running)
        self._stopped: set[str] = set()

    def note(self, entry: journal.Entry) -> None:
        """Replaces the journal's entry."""
        self.entry = entry
        if not self.compose.runner.dry:
            journal.write(self.compose, self.entry)

    @contextmanager
    def quiesced(self, store: str = "postgres", *, timeout: int = WORKER_SECONDS) -> Iterator[Pause]:
        """Stops the running services that write to the store; starts them again when left. See `stopped`."""
        services = Catalogue.of(self.compose.model).services.values()
        with self.stopped([each.name for each in services if each.writes == store], timeout=timeout) as pause:
            yield pause

    @contextmanager
    def stopped(self, names: Collection[str], *, timeout: int = WORKER_SECONDS) -> Iterator[Pause]:
        """Stops those of the services that run (one-shots never count); starts them again when left.

        The web application stops last and starts first. timeout: seconds that a worker gets for its job. Raises
        StackError when one cannot be stopped, or does not come back.
        """
        services = Catalogue.of(self.compose.model).services
        chosen = self.running(names)
        web = [each for each in chosen if services[each.service].url]
        self._note_ill(chosen)
        pause = Pause(tuple(each.service for each in chosen))
        stopped_at: float | None = None

        def serves_again() -> None:
            if web and stopped_at is not None:
                pause.seconds = self.clock.monotonic() - stopped_at

        try:
            self._stop([each for each in chosen if each not in web], timeout)
            stopped_at = self.clock.monotonic()
            self._stop(web, min(timeout, WEB_SECONDS))
            yield pause
        finally:
            with uninterrupted(self.console):
                self.bring_back(serves_again)

    def running(self, names: Collection[str]) -> list[Container]:
        """The containers of these services that run now."""
        return [each for each in _running(self.compose) if each.service in names]

    def _note_ill(self, containers: Sequence[Container]) -> None:
        """Remembers who is not well now: the engine finds out up to a minute and a half later, and whoever was ill
        before (a sidecar whose last backup failed) is not waited for afterwards."""
        if self.compose.runner.dry:
            return
        ill = {
            each.id for each in containers if each.health_test and not self.compose.engine.run_health(each).ok
        }
        running = tuple(replace(each, ill=each.ill or each.id in ill) for each in self.entry.running)
        if running != self.entry.running:
            self.note(replace(self.entry, running=running))

    def _stop(self, containers: Sequence[Container], seconds: int) -> None:
        if not containers:
            return
        asked = (*self.entry.stopping, *(each.id for each in containers))
        self.note(replace(self.entry, stopping=asked))
        problem = self.compose.engine.stop([each.name for each in containers], seconds)
        if problem:
            raise StackError(
                f"not stopped: {', '.join(each.service for each in containers)} ({problem})",
                "see `invoke compose-status`; nothing was changed in the database",
                ExitCode.FAILED,
            )
        self._stopped.update(each.id for each in containers)

    def end(self) -> None:
        """All runs again; the journal is closed unless a change of the password still waits to be taken back."""
        self.bring_back()
        if self.entry.rotation is None or self.entry.rotation.settled:
            journal.remove(self.compose)

    def bring_back(self, on_web: Callable[[], object] = lambda: None) -> None:
        """Starts what ran before and does not now; `on_web` is called when the web application serves again."""
        in_flight = [each for each in self.entry.stopping if each not in self._stopped]
        if self.compose.runner.dry:
            self.compose.engine.start([each.name for each in self.entry.running if each.id in self._stopped])
            return
        revive.settle(self.compose, in_flight, WORKER_SECONDS)
        if self.entry.stopping:
            self.note(replace(self.entry, stopping=()))
        self._stopped.clear()
        problems = revive.start(
            self.compose, self.console, self.entry.running, self.clock, asking=self.asking, on_web=on_web
        )
        if problems:
            raise StackError(
                f"not back: {'; '.join(problems)}",
                "see `invoke compose-logs`, then `invoke compose-up`",
                ExitCode.FAILED,
            )


@contextmanager
def kept_running(
    compose: Compose,
    console: Console,
    task: str,
    *,
    clock: Clock | None = None,
    asking: Ask = ask,
    watcher: Watcher = guard.watching,
) -> Iterator[Keeper]:
    """What runs now runs again at the end, however the end comes. To be entered with the project's lock held."""
    keeper = Keeper(compose, console, task, clock=clock or SystemClock(), asking=asking)
    if compose.runner.dry:
        yield keeper
        return
    keeper.note(keeper.entry)
    with watcher(compose):
        try:
            yield keeper
        except BaseException:
            with uninterrupted(console):
                try:
                    keeper.end()
                except StackError as error:
                    # What went wrong first is what the user must hear; this comes on top of it.
                    console.warn(f"{error.what}; {error.mend}")
            raise
        with uninterrupted(console):
            keeper.end()


@contextmanager
def uninterrupted(console: Console) -> Iterator[None]:
    """Ctrl-C is answered with a word and has no effect: services are being brought back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(
        signal.SIGINT, lambda *_: console.say("one moment: what was stopped is being started again")
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)


def _running(compose: Compose, *, with_database: bool = False) -> list[Container]:
    """What runs for long. with_database: the stack's own database too, if it was killed just now: tasks need it."""
    one_shots = {each.name for each in Catalogue.of(compose.model).services.values() if each.one_shot}
    database = DATABASE if with_database and compose.setting("POSTGRES_HOST", DATABASE) == DATABASE else ""
    return [
        each
        for each in compose.engine.containers(compose.project)
        if (each.state in ("running", "restarting") or each.service == database)
        and not each.oneoff
        and each.service not in one_shots
    ]
