"""The source's systemd unit: started for the move when it was down, then left as found, or stopped on request.

A unit may be a mere handle. Debian's postgresql.service is "active" whether or not a server runs, its start succeeds
when theirs fails, and its stop returns before theirs is over. The servers are the units that are part of it (PartOf=),
so those are looked at, started and stopped together with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from scripts.base.console import Console
from scripts.base.errors import StackError, refuse
from scripts.base.host import is_root
from scripts.engine.runner import Runner

# What is taken for granted when no unit is named: it need not exist.
USUAL = "postgresql.service"
UP = ("active", "activating", "reloading")
LOOK_SECONDS = 20.0


@dataclass
class Unit:
    """One unit of systemd, with those that are part of it. started_by_us: what was down and runs for the move."""

    name: str
    runner: Runner
    console: Console
    started_by_us: list[str] = field(default_factory=list)

    def look(self) -> dict[str, dict[str, str]]:
        """Return properties of the unit, then of the servers it is a handle for, by name; none without such a unit."""
        own = self._show([self.name] if self.name else [])
        handles = [each for each in own.values() if each["Type"] == "oneshot"]
        return own | self._show([part for each in handles for part in each["ConsistsOf"].split()])

    def _show(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        wanted = "--property=Id,Type,LoadState,ActiveState,ConsistsOf"
        result = self.runner.capture(["systemctl", "show", wanted, "--", *names], timeout=LOOK_SECONDS)
        blocks = result.stdout.split("\n\n") if result.ok else []
        units = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]
        return {each["Id"]: each for each in units if each.get("LoadState") == "loaded"}

    def serving(self) -> bool:
        """Return True when a server is up. A handle that has servers is none itself."""
        units = self.look().values()
        servers = [each for each in units if each["Type"] != "oneshot"] or units
        return any(each["ActiveState"] in UP for each in servers)

    def start(self) -> None:
        """Start what is down of it. Raise StackError, with all as before."""
        self.console.say(f"{self.name} is down: starting it for the move")
        self.started_by_us = [name for name, each in self.look().items() if each["ActiveState"] not in UP]
        # Its status does not count: where one of several servers fails, another may be the wanted one; and Debian's
        # units are units to overlook a failure.
        self._control("start", self.started_by_us)
        if not self.serving():
            # systemd may go on trying: it comes to rest.
            self._control("stop", self.started_by_us)
            units = " ".join(f"-u {name}" for name in self.started_by_us)
            raise StackError(f"{self.name} could not be started", f"see what hinders it: journalctl {units}")

    def leave(self) -> None:
        """Stop what was started for the move."""
        if self.started_by_us and self._control("stop", self.started_by_us):
            self.console.warn(f"{self.name} was down before and still runs: sudo systemctl stop {self.name}")

    def stop(self) -> bool:
        """Stop it for good; return whether it is stopped."""
        if self._control("stop", list(self.look()) or [self.name]):
            self.console.warn(f"{self.name} was not stopped: sudo systemctl stop {self.name}")
            return False
        self.started_by_us = []
        self.console.say(
            f"{self.name} is stopped; `sudo systemctl disable {self.name}` keeps it so after a boot "
            "(`mask` where another unit wants it)"
        )
        return True

    def _control(self, verb: str, names: list[str]) -> int:
        """Return systemctl's status for `start` or `stop`, once all of them are started or stopped."""
        sudo = [] if is_root() else ["sudo"] if self.console.can_ask else ["sudo", "-n"]
        # With the terminal: sudo may ask for a password.
        return self.runner.attach([*sudo, "systemctl", verb, *names])


@contextmanager
def as_found(name: str, runner: Runner, console: Console, *, needed: bool = False) -> Iterator[Unit]:
    """Have the unit run while the block does; one that was started for it is stopped again when the block is left.

    needed: raise StackError where there is no such unit. Otherwise the source is taken as it is.
    """
    unit = Unit(name, runner, console)
    there = bool(unit.look())
    if not there and needed:
        refuse(
            f"systemd has no unit {name} on this machine"
            if name
            else "the source is no unit of systemd here",
            "name the old server's unit with --service (systemctl list-units 'postgres*' shows them), or leave "
            "--service and --stop-source away and see to the server yourself",
        )
    if there and not unit.serving():
        unit.start()
    elif name and not there:
        console.say(f"systemd has no unit {name} here: the source is taken as it is")
    try:
        yield unit
    finally:
        unit.leave()
