"""What `worker-join` finds out before it tells the main host, and how `workers` says what is wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.engine.compose import Compose
from scripts.stack.worker_hosts import listing
from scripts.stack.worker_hosts.invitation import Invitation
from scripts.stack.worker_hosts.join import Join
from tests.unit.fakes import Checkout, FakeClock, Screen, service
from tests.unit.test_invitation import MADE

NOW = 500.0


class Joining:
    """A host on which everything is well until a test spoils it."""

    def __init__(self, root: Path) -> None:
        self.checkout = Checkout(root)
        self.runner = self.checkout.runner
        self.screen = Screen()
        self.clock = FakeClock(NOW)
        self.started = 0
        (root / "runs").mkdir()
        folder = dataclasses.replace(MADE.folders["WC1_DIR"], path=str(root / "runs"))
        self.invitation = dataclasses.replace(MADE, folders={"WC1_DIR": folder, "GEODATA_DIR": folder})
        self.compose = Compose(root, self.runner, environment=self.checkout.environment)
        secrets = {name: {"file": str(root / ".docker-data" / "secrets" / name)} for name in MADE.secrets}
        self.model: dict[str, Any] = {
            "name": "wepppy",
            "services": {
                "gateway": service(MADE.image),
                "rq-worker": service(MADE.image, profiles=["default"]),
            },
            "secrets": secrets,
        }
        (root / "docker" / "docker-compose.worker.yml").write_text("services: {}\n")
        self.runner.on("config", "json", stdout=json.dumps(self.model))
        self.runner.on("docker", "info", "{{.Name}}", stdout="WEPP2.example.org\n")
        self.checkout.images_are(MADE.image)
        self.checkout.containers_are([])
        self.runner.on("docker", "volume", "ls")
        self.runner.on("up", "gateway")
        self.main_host_says(now=NOW, joined=None)
        self.runner.on("ask", "join", stdout='{"now": 500.0, "joined": null}')
        self.runner.on("prove", stdout='{"container": "abc"}')
        self.folders_are()

    def main_host_says(self, **answer: Any) -> None:
        self.runner.on("ask", "look", stdout=json.dumps(answer))

    def folders_are(self, **changes: Any) -> None:
        """What a container finds in /wc1; /geodata is as it should be."""
        good = {"same": True, "why": "", "uid": 1002, "gid": 130, "free": 1 << 40, "writable": ""}
        found = [{**good, "path": "/wc1", **changes}, {**good, "path": "/geodata", "writable": "read-only"}]
        self.runner.on("check", stdout=json.dumps({"folders": found, "revision": "abc"}))

    def run(self, invitation: Invitation | None = None) -> None:
        def start() -> None:
            self.started += 1

        Join(
            self.compose, self.screen.console, invitation or self.invitation, start=start, clock=self.clock
        ).run()

    def told(self) -> bool:
        """Whether the main host was told that the host has joined."""
        return any("join" in call.argv for call in self.runner.calls)

    def refused(self) -> str:
        """Why it is refused; nothing of it stays then, and the main host was not told."""
        with pytest.raises(StackError) as raised:
            self.run()
        assert raised.value.exit_code == ExitCode.REFUSED
        assert not self.told()
        assert not self.started
        assert not self.compose.env_path.exists()
        assert not (self.compose.root / ".docker-data" / "secrets" / "redis_password").exists()
        return raised.value.what


@pytest.fixture
def joining(tmp_path: Path) -> Joining:
    return Joining(tmp_path)


def test_a_host_where_all_is_well_is_started_and_proved_by_a_job(joining: Joining) -> None:
    joining.run()
    assert joining.told()
    assert joining.started == 1
    values = joining.compose.env.values
    assert values["COMPOSE_FILE"] == "docker/docker-compose.worker.yml"
    assert values["COMPOSE_PROFILES"] == "default,batch"
    assert (values["UID"], values["GID"]) == ("1002", "130")
    secret = joining.compose.secrets_dir / "redis_password"
    assert secret.read_text() == "a very secret word"
    assert "a job ran in abc" in joining.screen.out.getvalue()


def test_a_real_checkouts_workers_get_its_amendments(joining: Joining) -> None:
    (joining.compose.root / "docker" / "docker-compose.worker-wepppy.yml").write_text("services: {}\n")
    joining.run(dataclasses.replace(joining.invitation, settings={"WEPPPY_SRC": "/home/me/wepppy"}))
    assert joining.compose.env.values["COMPOSE_FILE"].endswith(":docker/docker-compose.worker-wepppy.yml")


@pytest.mark.parametrize("off", [-10.0, 10.0, 1.5, -1.5])
def test_a_clock_that_differs_by_more_than_a_second_is_refused(joining: Joining, off: float) -> None:
    joining.main_host_says(now=NOW - off, joined=None)
    assert f"{abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} the main host's" in joining.refused()


def test_a_clock_within_a_second_is_taken(joining: Joining) -> None:
    joining.main_host_says(now=NOW + 0.9, joined=None)
    joining.run()
    assert joining.told()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"same": False, "why": "/wc1/.wepp-stack-0123: No such file or directory"}, "another folder"),
        ({"uid": 65534}, "belongs to 65534:130 here, and to 1002:130 on the main host"),
        ({"writable": "Permission denied"}, "workers run as 1002:130 and cannot write"),
        ({"free": 1 << 20}, "less than 1 GiB of room"),
    ],
)
def test_a_shared_folder_that_is_not_as_it_should_be_is_refused(
    joining: Joining, found: Mapping[str, Any], words: str
) -> None:
    joining.folders_are(**found)
    assert words in joining.refused()


def test_an_invitation_that_is_over_or_used_is_refused(joining: Joining) -> None:
    joining.main_host_says(now=NOW, joined=400.0)
    assert "the invitation was used at" in joining.refused()
    joining.clock.seconds = 2000.0
    assert "the invitation was good until" in joining.refused()


def test_a_main_host_that_lets_nobody_in_is_told_with_its_address(joining: Joining) -> None:
    joining.main_host_says(refused="ConnectionRefusedError")
    assert "the main host at 10.0.0.1:7380 does not let this host in" in joining.refused()


def test_an_image_that_is_not_here_is_told_with_the_command_that_brings_it(joining: Joining) -> None:
    joining.runner.on("docker", "image", "inspect", stderr="Error: No such image", returncode=1)
    with pytest.raises(StackError) as raised:
        joining.run()
    assert raised.value.fix.endswith("docker save wepppy-python:prod | ssh wepp2 docker load")
    assert not joining.compose.env_path.exists()


def test_a_stack_that_is_at_home_here_is_left_alone(joining: Joining) -> None:
    path = joining.checkout.with_env()
    before = path.read_text()
    with pytest.raises(StackError, match="belongs to a stack of its own"):
        joining.run()
    assert path.read_text() == before


def test_a_join_that_was_told_and_interrupted_goes_on_with_the_same_invitation(joining: Joining) -> None:
    joining.run()
    joining.main_host_says(now=NOW, joined=450.0)
    joining.clock.seconds = 2000.0
    joining.main_host_says(now=2000.0, joined=450.0)
    joining.run()
    assert joining.started == 2


def test_a_queue_with_one_consumer_is_given_to_the_host_before_it_starts(joining: Joining) -> None:
    for each in joining.model["services"].values():
        each["environment"] = {"RQ_EXACTLY_ONE": "batch"}
    joining.runner.on("config", "json", stdout=json.dumps(joining.model))
    joining.runner.on("own", stdout="{}")
    joining.run()
    (own,) = [call.argv for call in joining.runner.calls if "own" in call.argv]
    assert own[-3:] == ["own", "wepp2", "batch"]
    assert "batch: taken over when" in joining.screen.err.getvalue()


def test_another_revision_is_told(joining: Joining) -> None:
    joining.run(dataclasses.replace(joining.invitation, revision="other"))
    assert "this host runs revision abc, the main host other" in joining.screen.err.getvalue()


def pool(host: str, **changes: str) -> dict[str, str]:
    made = {
        "host": host, "container": "c", "queues": "default,host-x", "workers": "2 of 2", "revision": "abc",
        "heartbeat": "995", "note": "",
    }  # fmt: skip
    return made | changes


@pytest.mark.parametrize(
    ("pools", "wrong"),
    [
        ([pool("main"), pool("wepp2", heartbeat="900", container="old"), pool("wepp2")], ["", ""]),
        ([pool("main"), pool("wepp2")], ["", ""]),
        ([pool("main"), pool("wepp2", heartbeat="900")], ["", "no heartbeat for 1 min 40 s"]),
        ([pool("main"), pool("wepp2", revision="old")], ["", "another revision than abc of the main host"]),
        ([pool("main"), pool("wepp2", note="1 of 2 workers alive")], ["", "1 of 2 workers alive"]),
        ([pool("main", note="batch is not taken: host wepp2 owns it"), pool("wepp2")], ["", ""]),
        ([pool("wepp1"), pool("wepp2")], ["", "", "no workers: jobs of a lost host are not found"]),
    ],
)
def test_what_is_wrong_with_a_host_is_told(
    tmp_path: Path, pools: list[dict[str, str]], wrong: list[str]
) -> None:
    checkout, screen = Checkout(tmp_path), Screen(as_json=True)
    checkout.with_env()
    jobs = [{"id": "7", "queue": "default", "worker": "wepp2.x"}]
    answer = {"now": 1000, "pools": pools, "queues": {"default": 3}, "jobs": jobs}
    checkout.runner.on("worker_host.py", stdout="")
    checkout.runner.on("list", stdout=json.dumps(answer))
    compose = Compose(tmp_path, checkout.runner, environment=checkout.environment)
    assert listing.workers(compose, screen.console) == (not any(wrong))
    told = json.loads(screen.out.getvalue())
    assert [each["wrong"] for each in told["hosts"]] == wrong
    assert [each["jobs"] for each in told["hosts"]][:2] == [[], ["7"]]
    assert told["hosts"][0]["queues"] == ["default"]
