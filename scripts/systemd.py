"""Owns the source's systemd unit: started for the move when it was down, then left as found, or stopped on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.console import Console
from scripts.errors import ExitCode, StackError
from scripts.host import is_root
from scripts.runner import Runner


def booted() -> bool:
    """True where systemd manages the machine (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


@dataclass
class Unit:
    """One unit of systemd. here: False where there is none of that name, or no systemd."""

    name: str
    runner: Runner
    console: Console
    here: bool = False
    started: bool = False
    asroot: Callable[[], bool] = is_root

    def stop(self) -> bool:
        """Stops it and says how to keep it from coming back with the next boot; True when it is stopped."""
        if not self.here:
            self.console.warn("the source is no unit of systemd here: stop it the way it was started")
            return False
        if self.control("stop"):
            self.console.warn(f"{self.name} was not stopped: sudo systemctl stop {self.name}")
            return False
        self.started = False
        self.console.say(
            f"{self.name} is stopped; `sudo systemctl disable {self.name}` keeps it so after a boot"
        )
        return True

    def control(self, verb: str) -> int:
        """systemctl's exit status for `start` or `stop`."""
        sudo = [] if self.asroot() else ["sudo"] if self.console.can_ask else ["sudo", "-n"]
        # With the terminal: sudo may ask for a password.
        return self.runner.attach([*sudo, "systemctl", verb, self.name])

    def look(self) -> str:
        """The unit's state in systemd's words; empty when it is unknown there."""
        result = self.runner.capture(
            ["systemctl", "show", "--property=LoadState,ActiveState", self.name], timeout=20.0
        )
        told = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
        return told.get("ActiveState", "") if result.ok and told.get("LoadState") == "loaded" else ""

    def start(self) -> None:
        """Starts it. Raises StackError."""
        self.console.say(f"{self.name} is down: starting it for the move")
        if self.control("start"):
            raise StackError(
                f"{self.name} could not be started",
                f"start it by hand: sudo systemctl start {self.name} (see journalctl -u {self.name})",
                ExitCode.NOT_READY,
            )
        self.started = True


@contextmanager
def as_found(
    name: str,
    runner: Runner,
    console: Console,
    *,
    present: Callable[[], bool] = booted,
    asroot: Callable[[], bool] = is_root,
) -> Iterator[Unit]:
    """The unit runs while the block does; one that was started for it is stopped again when the block is left."""
    unit = Unit(name, runner, console, asroot=asroot)
    if not name:
        yield unit
        return
    if not present():
        console.say(f"no systemd on this machine: {name} is left alone")
        yield unit
        return
    state = unit.look()
    unit.here = bool(state)
    if not state:
        console.say(f"systemd knows no {name} here: the source is taken as it is")
    elif state not in ("active", "activating", "reloading"):
        unit.start()
    try:
        yield unit
    finally:
        if unit.started and unit.control("stop"):
            console.warn(f"{name} was down before and still runs: sudo systemctl stop {name}")
