"""A stack whose engine starts and stops containers for real, but in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from scripts.engine.compose import Compose
from scripts.engine.runner import Result
from tests.unit.fakes import Checkout, FakeClock, Screen, container, service

WEB = {"wepp.writes": "postgres", "wepp.url": "/", "wepp.probe": "/health", "wepp.probe.body": "OK"}
SECRET = [{"source": "postgres_password"}]
POOL = ["python", "/opt/stack/rq-worker.py", "default"]


class MemoryStack:
    """Proxy, web application, two workers (one is not running), database, backup, a one-shot.

    Each start and stop takes a second and is recorded in `events`. sick: who does not become well. on_stop: what is
    raised instead of the end of a stop.
    """

    def __init__(self, folder: Path, *, dry: bool = False) -> None:
        self.made = Checkout(folder, dry=dry)
        self.made.with_env()
        self.clock = FakeClock()
        self.screen = Screen()
        self.states = dict.fromkeys(
            ["caddy", "web", "worker", "postgres", "backup", "idle-worker"], "running"
        )
        self.states |= {"idle-worker": "exited", "upgrade": "running"}
        self.events: list[str] = []
        self.sick: set[str] = set()
        self.on_stop: dict[str, BaseException] = {}
        model = {
            "name": "wepppy",
            "services": {
                "caddy": service("caddy", port=8080),
                "web": service("python", labels=WEB, depends_on={"postgres": {}}, secrets=SECRET),
                "worker": service("python", labels={"wepp.writes": "postgres"}, secrets=SECRET, command=POOL),
                "idle-worker": service("python", labels={"wepp.writes": "postgres"}),
                "postgres": service("postgres", secrets=SECRET),
                "backup": service("backup"),
                "upgrade": service("python", labels={"wepp.writes": "postgres", "wepp.role": "one-shot"}),
            },
            "secrets": {"postgres_password": {"file": str(folder / "secrets" / "postgres_password")}},
        }
        runner = self.made.runner
        runner.on("config", "json", stdout=json.dumps(model))
        runner.do("docker", "ps", "--all", action=self._list)
        runner.do("docker", "inspect", action=self._inspect)
        runner.do("docker", "stop", action=self.stop)
        runner.do("docker", "start", action=self.start)
        runner.do("docker", "restart", "-t", action=self.restart)
        runner.do("docker", "exec", action=self._exec)

    @property
    def compose(self) -> Compose:
        return self.made.compose()

    def _list(self, argv: Sequence[str]) -> Result:
        return Result(tuple(argv), 0, "".join(f"id-{name}\n" for name in self.states))

    def _inspect(self, argv: Sequence[str]) -> Result:
        answers = [container(name, status=state) for name, state in self.states.items()]
        for each in answers:
            each["Config"]["Healthcheck"] = {"Test": ["CMD", "am-i-well"]}
        return Result(tuple(argv), 0, json.dumps(answers))

    def stop(self, argv: Sequence[str]) -> Result:
        """`docker stop`."""
        names = [name.split("-", 1)[1].removesuffix("-1") for name in argv[4:]]
        self.clock.sleep(1)
        self.events.append(f"stop {' '.join(names)}")
        for name in names:
            if name in self.on_stop:
                raise self.on_stop.pop(name)
            self.states[name] = "exited"
        return Result(tuple(argv), 0)

    def start(self, argv: Sequence[str]) -> Result:
        """`docker start`."""
        names = [name.split("-", 1)[1].removesuffix("-1") for name in argv[2:]]
        self.clock.sleep(1)
        self.events.append(f"start {' '.join(names)}")
        self.states |= dict.fromkeys(names, "running")
        return Result(tuple(argv), 0)

    def restart(self, argv: Sequence[str]) -> Result:
        """`docker restart`."""
        names = [name.split("-", 1)[1].removesuffix("-1") for name in argv[4:]]
        self.clock.sleep(1)
        self.events.append(f"restart {' '.join(names)}")
        self.states |= dict.fromkeys(names, "running")
        return Result(tuple(argv), 0)

    def _exec(self, argv: Sequence[str]) -> Result:
        name = argv[2].split("-", 1)[1].removesuffix("-1")
        return Result(tuple(argv), 1 if name in self.sick else 0, "", "not well")

    def all_back(self) -> bool:
        """True when what ran in the beginning runs."""
        return {name for name, state in self.states.items() if state != "running"} == {"idle-worker"}
