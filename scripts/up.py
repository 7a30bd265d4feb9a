"""Owns `compose-up`: from whatever is there to a stack that answers through its reverse proxy, step by step.

Every step may be repeated: whatever stops one run in the middle, the next run takes up where it stopped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from scripts import (
    cluster,
    doctor,
    doctor_engine,
    envinit,
    lock,
    overlays,
    probe,
    recovery,
    secretfiles,
    stamp,
)
from scripts.build import EnsureImages, build, ensure_images
from scripts.catalogue import DOOR, Catalogue, Service
from scripts.clock import Clock, SystemClock
from scripts.compose import Compose
from scripts.console import Console
from scripts.container import Container
from scripts.dump import backups_are_here, backups_folder
from scripts.envfile import shown
from scripts.errors import ExitCode, StackError
from scripts.failure import explain
from scripts.follower import Follower
from scripts.host import Host, is_root
from scripts.outdated import outdated

PROBE_SECONDS = 30.0


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
        clock: Clock | None = None,
        host: Host | None = None,
        asking: probe.Ask = probe.ask,
        images: EnsureImages = ensure_images,
    ) -> None:
        self.compose = compose
        self.console = console
        self.options = options
        self.clock = clock or SystemClock()
        self.host = host
        self.asking = asking
        self.images = images
        self.started = self.clock.monotonic()
        self.changed = False

    def run(self) -> None:
        """All steps. Raises StackError; what was running before a step that failed runs on."""
        if not self._settings():
            return
        if self.dry:
            self._steps()
            return
        with lock.sole(self.compose):
            self._steps()

    def _steps(self) -> None:
        doctor.demand(self.console, doctor.examine(self.compose, self.host))
        recovery.recover(self.compose, self.console)
        catalogue = Catalogue.of(self.compose.model)
        services = self._services(catalogue)
        if not self.dry:
            self._folders()
            secretfiles.write(self.compose)
            secretfiles.write_build_environment(self.compose)
        self._build(services)
        self._start(services)
        if self.dry:
            return
        outcomes = self._probe(catalogue, services)
        if self.changed:
            stamp.note(self.compose, self._involved(services))
        self._answer(catalogue, services, outcomes)

    # ---- steps ----

    @property
    def dry(self) -> bool:
        """True when commands are only told."""
        return self.compose.runner.dry

    def _settings(self) -> bool:
        """Sees to `.env`; False when a dry run cannot go on without one."""
        path = self.compose.env_path
        if self.dry:
            if not path.exists():
                self.console.say(f"would write {shown(path)} with fresh secrets, then start the stack")
            return path.exists()
        if not path.exists():
            envinit.initialise(self.compose)
            self.console.say(
                f"{shown(path)} was missing: written with fresh secrets (see `invoke env-init --help`)"
            )
        # Engine troubles are the doctor's to tell, with all the rest.
        with contextlib.suppress(StackError):
            overlays.choose(self.compose, self.console)
        return True

    def _services(self, catalogue: Catalogue) -> list[Service]:
        if self.options.services:
            return catalogue.select(self.options.services)
        return catalogue.active(self.compose.active_profiles)

    def _folders(self) -> None:
        """Folders that containers write to, in the containers' ownership (docker/compose#13612: else root's)."""
        if not backups_are_here(self.compose):
            return
        folder = backups_folder(self.compose)
        uid, gid = (int(self.compose.setting(key, "1000")) for key in ("UID", "GID"))
        try:
            # Its owner's alone: that guards the dumps, which the database's own user has to be able to read.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if is_root() and folder.stat().st_uid != uid:
                os.chown(folder, uid, gid)
        except OSError as error:
            raise StackError(
                f"{folder} cannot be made: {error.strerror}",
                f"make {self.compose.data_dir} your own: sudo chown -R {os.getuid()} {self.compose.data_dir}",
            ) from error

    def _build(self, services: Sequence[Service]) -> None:
        if self.options.build is False:
            return
        names = self._with_dependencies(services)
        needed = doctor_engine.built_images(self.compose.model, names)
        pulled = doctor_engine.pulled_images(self.compose.model, names)
        if self.options.build is None and self.compose.engine.images([*needed, *pulled]) >= {
            *needed,
            *pulled,
        }:
            return
        chosen = sorted(names) if self.options.services else ()
        build(self.compose, self.console, chosen, base=self.images)

    def _with_dependencies(self, services: Sequence[Service]) -> set[str]:
        model: dict[str, Any] = self.compose.model["services"]
        found: set[str] = set()
        waiting = [service.name for service in services]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(model[name].get("depends_on") or ())
        return found

    def _start(self, services: Sequence[Service]) -> None:
        involved = self._involved(services)
        self._renew(involved)
        if not self.dry and stamp.matches(self.compose, involved):
            self._start_one_shots(involved)
            return
        if not self.dry:
            cluster.demand_not_replaced(self.compose)
        self.changed = True
        names = {service.container: service.name for service in services}
        arguments = ["up", "--detach", "--no-build", "--wait", "--wait-timeout", str(self.options.timeout)]
        with self.console.progress(f"starting {self.compose.project}", list(names.values())) as progress:
            follower = Follower(names, progress)
            result = self.compose.stream(*arguments, *self.options.services, on_line=follower.line)
        if not result.ok:
            self._fail(services, result.complaint)

    def _renew(self, services: Sequence[Service]) -> None:
        """Has what changed among the secrets take effect: Compose does not look into their files."""
        old = [] if self.dry else outdated(self.compose, services)
        if not old:
            return
        self.console.say(f"secrets changed in {shown(self.compose.env_path)}: restarting {', '.join(old)}")
        result = self.compose.stream("restart", *old)
        if not result.ok:
            self._fail(services, result.complaint)

    def _involved(self, services: Sequence[Service]) -> list[Service]:
        names = self._with_dependencies(services)
        return [each for each in Catalogue.of(self.compose.model).services.values() if each.name in names]

    def _start_one_shots(self, services: Sequence[Service]) -> None:
        """All runs already; what is done at every start is done all the same: the source may be another."""
        self.console.say("nothing changed since the last compose-up")
        one_shots = [each for each in services if each.one_shot]
        if one_shots and not self.compose.engine.start_again([each.container for each in one_shots]):
            self._fail(one_shots, "a job that belongs to every start failed")

    def _fail(self, services: Sequence[Service], complaint: str) -> NoReturn:
        failed, details = explain(self.compose, sorted(self._with_dependencies(services)))
        if cluster.SERVICE in failed:
            cluster.demand_same_major(self.compose)
        if failed:
            what = f"not healthy: {', '.join(failed)} (Compose says: {complaint})"
        else:
            what = f"the stack did not start: {complaint}"
        raise StackError(
            what,
            "the lines above say why; mend it and run `invoke compose-up` again, what is healthy stays up",
            ExitCode.FAILED,
            details=details,
        )

    def _probe(self, catalogue: Catalogue, services: Sequence[Service]) -> list[probe.Outcome]:
        door = catalogue.door()
        asked_for = {service.name for service in services}
        if door is None or DOOR not in asked_for:
            return []
        with self.console.busy("asking every service through the proxy"):
            outcomes = probe.probe_all(services, door, self.clock, seconds=PROBE_SECONDS, asking=self.asking)
        broken = [each for each in outcomes if not each.ok]
        if not broken:
            return outcomes
        told = "\n".join(f"{each.service}: GET {catalogue.url(each.path)} {each.problem}" for each in broken)
        raise StackError(
            f"healthy inside, but not reached through the proxy: {', '.join(each.service for each in broken)}",
            "see docker/caddy/Caddyfile and `invoke compose-logs --services=caddy`",
            ExitCode.FAILED,
            details=told,
        )

    def _answer(
        self, catalogue: Catalogue, services: Sequence[Service], outcomes: Sequence[probe.Outcome]
    ) -> None:
        seconds = self.clock.monotonic() - self.started
        by_service = {each.service: each for each in self.compose.engine.containers(self.compose.project)}
        rows = [_row(catalogue, service, by_service.get(service.name), outcomes) for service in services]
        if self.console.as_json:
            self.console.document(
                {"ok": True, "project": self.compose.project, "seconds": round(seconds, 2), "services": rows}
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
        for service in services:
            if service.url:
                self.console.text(catalogue.url(service.url))


def _row(
    catalogue: Catalogue, service: Service, container: Container | None, outcomes: Sequence[probe.Outcome]
) -> dict[str, Any]:
    return {
        "name": service.name,
        "state": container.condition if container else "absent",
        "ports": [port.number for port in service.ports],
        "about": service.about,
        "url": catalogue.url(service.url or service.probe),
        "probe": next(("ok" for each in outcomes if each.service == service.name), ""),
    }
