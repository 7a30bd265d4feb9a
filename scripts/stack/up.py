"""`compose-up`: from whatever is there to a stack that answers through its reverse proxy, step by step.

Every step may be repeated: whatever stops one run in the middle, the next run takes up where it stopped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from scripts.base.clock import SYSTEM_CLOCK, Clock, moment
from scripts.base.console import Console
from scripts.base.errors import StackError, fail
from scripts.base.host import LOCAL_HOST, Host, is_root
from scripts.engine import database_server, problems
from scripts.engine.catalogue import Service
from scripts.engine.compose import Compose
from scripts.engine.container import Container, by_service
from scripts.engine.failure import RECOVERY_SECONDS, details, explain, unhealthy_after
from scripts.engine.proof import Fetch, Proof, fetch, prove, visits_document
from scripts.engine.runner import Result
from scripts.engine.sidecar import backups_are_here, backups_folder
from scripts.prepare import (
    build_environment,
    env_init,
    last_up,
    lock,
    overlays,
    ownership,
    public_files,
)
from scripts.prepare.build import EnsureImages, build
from scripts.prepare.doctor import examination
from scripts.prepare.images import ensure
from scripts.prepare.source_check.image import STALE_CHECK
from scripts.settings import secret_files
from scripts.settings.envfile import display_path
from scripts.settings.secret_ids import DATABASE

# What Compose says of a service that it does not wait for, and does not start others after.
UNHEALTHY = "is unhealthy"
# Finishes what a task that was killed left half done.
Recover = Callable[[Compose, Console], None]


@dataclass(frozen=True)
class Options:
    """What the user asked of `compose-up`. build: None builds what is missing only."""

    services: tuple[str, ...] = ()
    build: bool | None = None
    timeout: int = 300


class Up:
    """One run of `compose-up`."""

    def __init__(
        self,
        compose: Compose,
        console: Console,
        options: Options,
        *,
        recover: Recover,
        clock: Clock = SYSTEM_CLOCK,
        host: Host = LOCAL_HOST,
        fetching: Fetch = fetch,
        images: EnsureImages = ensure,
    ) -> None:
        self.compose = compose
        self.console = console
        self.options = options
        self.clock = clock
        self.host = host
        self.fetching = fetching
        self.images = images
        self.recover = recover
        self.dry = compose.runner.dry
        self.started = clock.monotonic()
        self.changed = False

    def run(self) -> None:
        """All steps. Raise StackError; what was running before a step that failed runs on."""
        if self.dry or not self.compose.env_path.exists():
            # Before secrets are made for it: none of them would fit another checkout's volumes.
            ownership.require(self.compose)
        if not self._settings():
            return
        if self.dry:
            self._steps()
            return
        with lock.sole(self.compose):
            self._steps()

    def _steps(self) -> None:
        findings = examination.examine(self.compose, self.host)
        # A build renews what is in the image.
        later = STALE_CHECK if self.options.build else ""
        examination.require(self.console, [each for each in findings if each.check != later])
        self.recover(self.compose, self.console)
        if not self.dry:
            public_files.make_readable(self.compose)
            self._folders()
            build_environment.write(self.compose)
        self._build()
        self._start()
        if self.dry:
            return
        with self.console.busy("asking for every service and page through the proxy"):
            proof = prove(self.compose, self.services, self.clock, fetching=self.fetching)
        containers = self._check()
        problems.warn(self.console, problems.of_redis(self.compose, containers.values()))
        if self.changed:
            last_up.write(self.compose, self.involved, containers.values())
        if not self.options.services:
            secret_files.remove_older(self.compose)
        self._answer(proof, containers)

    # ---- what it is about; asked anew each time, for a build may choose other images ----

    @property
    def services(self) -> list[Service]:
        """The services that were asked for, or all that are switched on."""
        if self.options.services:
            return self.compose.catalogue.select(self.options.services)
        return self.compose.catalogue.active(self.compose.active_profiles)

    @property
    def involved(self) -> list[Service]:
        """These services and what they need; a store that others run need not be there."""
        model: dict[str, Any] = self.compose.model["services"]
        on = {each.name for each in self.compose.catalogue.active(self.compose.active_profiles)}
        found: set[str] = set()
        waiting = [service.name for service in self.services]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                needs = (model[name].get("depends_on") or {}).items()
                waiting.extend(need for need, how in needs if how.get("required", True) or need in on)
        return [each for each in self.compose.catalogue.services.values() if each.name in found]

    @property
    def names(self) -> list[str]:
        return sorted(each.name for each in self.involved)

    # ---- steps ----

    def _settings(self) -> bool:
        """See to `.env`; False when a dry run cannot go on without one."""
        path = self.compose.env_path
        if self.dry:
            if not path.exists():
                self.console.say(f"would write {display_path(path)} with fresh secrets, then start the stack")
            return path.exists()
        if not path.exists():
            written = env_init.initialise(self.compose)
            self.console.say(f"{display_path(path)} was missing: written (see `invoke env-init --help`)")
            secret_files.tell(self.console, written.secrets)
        if self.compose.setting("WORKER_HOST"):
            # All that it has came with its invitation.
            return True
        secret_files.tell(self.console, secret_files.ensure(self.compose))
        if self.compose.setting(overlays.ADDRESS):
            from scripts.prepare import worker_authority

            worker_authority.ensure(self.compose)
        # Engine troubles are the doctor's to tell, with all the rest.
        with contextlib.suppress(StackError):
            overlays.choose(self.compose, self.console)
        return True

    def _folders(self) -> None:
        """Folders that containers write to, in the containers' ownership (docker/compose#13612: else root's)."""
        if not backups_are_here(self.compose):
            return
        folder = backups_folder(self.compose)
        uid, gid = self.compose.owner
        try:
            # Its owner's alone: that protects the dumps, which the database's own user has to be able to read.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if is_root() and folder.stat().st_uid != uid:
                os.chown(folder, uid, gid)
        except OSError as error:
            raise StackError(
                f"{folder} cannot be made: {error.strerror}",
                f"make {self.compose.data_dir} your own: sudo chown -R {os.getuid()} {self.compose.data_dir}",
            ) from error

    def _build(self) -> None:
        if self.options.build is False:
            return
        needed = {each.image for each in self.involved}
        if self.options.build or not self.compose.engine.images(sorted(needed)) >= needed:
            build(self.compose, self.console, self.names if self.options.services else (), base=self.images)

    def _start(self) -> None:
        if not self.dry:
            containers = self.compose.containers()
            if old := stale_secrets(self.compose, self.involved, containers):
                # Compose does not look into the secrets' files.
                folder = display_path(self.compose.secrets_dir)
                self.console.say(f"secrets changed in {folder}: restarting {', '.join(old)}")
                result = self.compose.stream("restart", *old)
                if not result.ok:
                    self._fail(self.names, result.complaint)
                containers = self.compose.containers()
            if last_up.matches(self.compose, self.involved, containers):
                self._start_one_shots()
                return
            database_server.require_not_replaced(self.compose)
            names = self.names
            mine = [each for each in containers if each.service in names]
            self._release(mine)
            if unhealthy := [each.service for each in mine if each.condition == "unhealthy"]:
                self._let_recover(unhealthy)
        self.changed = True
        # On a terminal Compose draws what it starts, and says there what it complains of.
        on_line = None if self.console.lively else self.console.say
        result = self._compose_up(on_line, "--wait", "--wait-timeout", str(self.options.timeout))
        if not self.dry:
            ownership.remember_volumes(self.compose)
        if not result.ok:
            self._fail(self.names, result.complaint if on_line else "see the lines above")

    def _compose_up(self, on_line: Callable[[str], None] | None, *flags: str) -> Result:
        arguments = ["up", "--detach", "--no-build", *flags, *self.options.services]
        return self.compose.stream(*arguments, on_line=on_line)

    def _start_one_shots(self) -> None:
        """All runs already; what is done at every start is done all the same: the source may be another."""
        self.console.say(
            "nothing changed since the last compose-up; an edit of what images are made of (Go code, requirements, "
            "Dockerfiles, in production the tree) comes in with --build"
        )
        one_shots = [each for each in self.involved if each.one_shot]
        if one_shots and not self.compose.engine.start_again([each.container for each in one_shots]):
            self._fail([each.name for each in one_shots], "a job that belongs to every start failed")

    def _release(self, containers: Iterable[Container]) -> None:
        """Make way for Compose, which starts neither a paused container nor one that the engine could not remove."""
        engine = self.compose.engine
        # One that was paused is started anew: its health is that of the pause.
        for state, change in (("paused", ["unpause"]), ("paused", ["restart"]), ("dead", ["rm", "--force"])):
            names = [each.name for each in containers if each.state == state]
            if names and (complaint := engine.change(*change, *names)):
                self._fail(self.names, complaint)

    def _let_recover(self, unhealthy: Collection[str]) -> None:
        """Start what these services may have been unhealthy without, and wait for their next health checks.

        `up --wait` fails at once on a container that is unhealthy, even if this start removes the cause.
        """
        result = self._compose_up(self.console.say)
        # Compose does not start what depends on an unhealthy service; whatever else failed fails again below.
        if result.ok or UNHEALTHY in result.complaint:
            seconds = min(RECOVERY_SECONDS, self.options.timeout)
            unhealthy_after(self.compose, self.clock, unhealthy, seconds=seconds)

    def _check(self) -> dict[str, Container]:
        """Return the containers by service. Raise StackError unless each is as it should be: some end late."""
        found = by_service(self.compose.containers())
        bad = [each.name for each in self.involved if each.name not in found or not found[each.name].fine]
        if bad:
            self._fail(bad, f"not running or not healthy: {', '.join(bad)}")
        return found

    def _fail(self, names: Collection[str], complaint: str) -> NoReturn:
        failed = explain(self.compose, sorted(names))
        services = {each.service for each in failed}
        if database_server.DATABASE in services:
            database_server.require_same_major(self.compose)
        again = self.console.again("compose-up")
        fix = f"the lines above say why; fix it and run `{again}` again, what is healthy stays up"
        if problems.REDIS in services and problems.damaged_redis(self.compose):
            fix = f"{problems.REPAIR}; then run `{again}` again"
        what = f"the stack did not start: {complaint}"
        if failed:
            told = f" (Compose says: {complaint})" if not any(each.cause for each in failed) else ""
            what = f"not healthy: {'; '.join(each.text for each in failed)}{told}"
        fail(
            what,
            fix,
            details=details(failed),
            facts={"services": [{"name": each.service, "cause": each.cause} for each in failed]},
        )

    def _answer(self, proof: Proof, containers: Mapping[str, Container]) -> None:
        seconds = self.clock.monotonic() - self.started
        probed = {each.service for each in proof.probes}
        rows: list[dict[str, Any]] = [
            {
                "name": each.name,
                "state": containers[each.name].condition,
                "ports": [port.number for port in each.ports],
                "about": each.about,
                "url": self.compose.catalogue.public_url(each.url or each.probe),
                "probe": "ok" if each.name in probed else "",
            }
            for each in self.services
        ]
        if self.console.as_json:
            self.console.document(
                {
                    "ok": True,
                    "project": self.compose.project,
                    "seconds": round(seconds, 2),
                    "services": rows,
                    "pages": visits_document(self.compose.catalogue, proof.pages),
                }
            )
            return
        self.console.table(
            ["service", "state", "port", "purpose", "answers at"],
            [
                [row["name"], row["state"], ",".join(map(str, row["ports"])), row["about"], row["url"]]
                for row in rows
            ],
        )
        self.console.say(f"{self.compose.project}: {len(rows)} services up in {seconds:.1f} s")
        for service in self.services:
            if service.url:
                self.console.text(self.compose.catalogue.public_url(service.url))


def stale_secrets(
    compose: Compose, services: Iterable[Service], containers: Iterable[Container]
) -> list[str]:
    """Return the names of running services that hold a secret whose file is younger than they are.

    Each container sees the file as it was when it was started. Asked of the files and the engine, so that a run that
    was killed in between is made up for by the next one.
    """
    started = {each.service: moment(each.started_at) for each in containers if each.state == "running"}
    # The role at the server has a password of its own: `db-rotate-password` changes both and restarts who reads it.
    return [
        service.name
        for service in services
        if (since := started.get(service.name)) is not None
        and any(_written(compose.secret_file(name)) > since for name in service.secrets if name != DATABASE)
    ]


def _written(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
