"""`swarm-*`: in which order a swarm is given the stack, when that is refused, and what is told of a failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.base.errors import StackError
from scripts.database.backup import back_up
from scripts.database.sidecar_client import ProgramRun
from scripts.engine.proof import Reply
from scripts.engine.runner import Result
from scripts.prepare import lock, ownership
from scripts.stack.swarm import look
from scripts.stack.swarm.deploy import deploy
from scripts.stack.swarm.stack_file import PROXY, STORES
from tests.unit.fakes import Checkout, FakeClock, Screen, container, model

PROD = "docker/docker-compose.prod.yml"
IMAGES = ("wepppy-caddy:dev", "wepppy-status:dev", "postgres:17-trixie")


class FakeSwarm:
    """A swarm of two nodes; `outcome` says what becomes of the tasks of a service."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.labels: dict[str, dict[str, str]] = {"one": {STORES: "true", PROXY: "true"}, "two": {}}
        self.services: dict[str, dict[str, Any]] = {}
        self.outcome: Callable[[str], Mapping[str, Any]] = lambda _: {}
        self.given: list[list[str]] = []
        runner = checkout.runner
        state = {"Swarm": {"ControlAvailable": True, "LocalNodeState": "active"}}
        runner.on("docker", "info", stdout=json.dumps({"ServerVersion": "26.1", **state}))
        runner.on("docker", "tag")
        runner.on("docker", "push")
        runner.do("docker", "node", "ls", action=lambda argv: self._told(argv, "\n".join(self.labels)))
        runner.do("docker", "service", "ls", action=lambda argv: self._told(argv, "\n".join(self.services)))
        runner.do("docker", "service", "ps", action=lambda argv: self._told(argv, "\n".join(self.services)))
        runner.do("docker", "inspect", "node", action=lambda argv: self._told(argv, self._nodes()))
        runner.do("docker", "inspect", "service", action=lambda argv: self._told(argv, self._services()))
        runner.do("docker", "inspect", "task", action=lambda argv: self._told(argv, self._tasks()))
        runner.do("docker", "stack", "deploy", action=self._deploy)
        runner.on("docker", "service", "logs", stdout="the password is a-very-secret-word\n")
        runner.on("docker", "service", "rm")
        runner.on("docker", "service", "scale")
        runner.on("docker", "stack", "rm")
        runner.on("docker", "secret", "ls", stdout="wepppy_postgres_password_0ld\n")
        runner.on("docker", "secret", "rm")
        runner.on("docker", "config", "ls")

    def _told(self, argv: Sequence[str], text: str) -> Result:
        return Result(tuple(argv), 0, text)

    def _nodes(self) -> str:
        return json.dumps(
            [
                {
                    "ID": name,
                    "Description": {"Hostname": name},
                    "Spec": {"Availability": "active", "Labels": labels},
                    "Status": {"State": "ready", "Addr": "10.0.0.1"},
                }
                for name, labels in self.labels.items()
            ]
        )

    def _deploy(self, argv: Sequence[str]) -> Result:
        text = Path(argv[argv.index("--compose-file") + 1]).read_text()
        assert "secret-word" not in text
        given = json.loads(text)["services"]
        self.services |= given
        self.given.append(sorted(given))
        return Result(tuple(argv), 0)

    def _services(self) -> str:
        return json.dumps([self._service(name, each) for name, each in self.services.items()])

    def _service(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        replicas = given["deploy"]["replicas"]
        job = "mode" in given["deploy"]
        constraints = given["deploy"].get("placement", {}).get("constraints", [])
        return {
            "ID": name,
            "Spec": {
                "Name": f"wepppy_{name}",
                "TaskTemplate": {"ContainerSpec": {"Image": given["image"]}, "Placement": {"Constraints": constraints}},
                "Mode": {"ReplicatedJob": {"TotalCompletions": 1}} if job else {"Replicated": {"Replicas": replicas}},
            },
            "UpdateStatus": {"State": self.outcome(name).get("update", "")},
        }  # fmt: skip

    def _tasks(self) -> str:
        found = []
        for name, given in self.services.items():
            told = self.outcome(name)
            good = "complete" if "mode" in given["deploy"] else "running"
            count = told.get("tasks", given["deploy"]["replicas"])
            for number in range(count):
                status = {
                    "State": told.get("state", good),
                    "Err": told.get("error", ""),
                    "Timestamp": f"{number}",
                }
                spec = {"ContainerSpec": {"Image": told.get("image", given["image"])}}
                task = {
                    "ID": f"{name}.{number}",
                    "ServiceID": name,
                    "NodeID": "two",
                    "DesiredState": "running",
                }
                found.append({**task, "Spec": spec, "Status": status})
        return json.dumps(found)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout in production whose stack is not running."""
    made = Checkout(tmp_path)
    made.with_env(COMPOSE_FILE=PROD)
    made.with_secrets()
    (tmp_path / PROD).touch()
    rendered = model(tmp_path)
    rendered["services"]["caddy"]["ports"] += [{"target": 8443, "published": "443", "protocol": "tcp"}]
    rendered["services"]["caddy"]["labels"] = {"wepp.public": "wepp.example.org"}
    rendered["services"]["postgres"] |= {
        "volumes": [{"type": "volume", "source": "data", "target": "/data"}],
        "secrets": [{"source": "postgres_password"}],
    }
    rendered["services"]["upgrade"]["depends_on"] = {"postgres": {}}
    rendered["volumes"] = {"data": {"name": "wepppy_data"}}
    made.runner.on("config", "json", stdout=json.dumps(rendered))
    made.images_are(*IMAGES)
    made.containers_are([])
    made.with_seen_volumes()
    return made


@pytest.fixture
def swarm(checkout: Checkout) -> FakeSwarm:
    """The swarm that its engine manages."""
    return FakeSwarm(checkout)


def run(checkout: Checkout, screen: Screen | None = None, reply: Reply | None = None, **options: Any) -> None:
    """Deploy; the site answers with `reply`, by default as it should."""
    asked: list[tuple[str, tuple[str, int]]] = []

    def fetching(name: str, proxy: tuple[str, int], path: str, *_: object) -> Reply:
        asked.append((name, proxy))
        return reply or Reply(200, body='"OK"' if path == "/met/health" else "OK")

    options = {"clock": FakeClock(), "timeout": 30, **options}
    deploy(checkout.compose(), (screen or Screen()).console, fetching=fetching, **options)
    if not options.get("dry_run"):
        assert set(asked) == {("wepp.example.org", ("10.0.0.1", 443))}


def refused(checkout: Checkout, **options: Any) -> StackError:
    """Return why a deploy ended, after which nothing has been given to the swarm."""
    with pytest.raises(StackError) as caught:
        run(checkout, **options)
    assert not [argv for argv in checkout.runner.commands() if argv[1] in ("stack", "service")]
    return caught.value


def test_stores_come_first_then_one_shots_then_the_rest(checkout: Checkout, swarm: FakeSwarm) -> None:
    screen = Screen(as_json=True)
    run(checkout, screen)
    assert swarm.given == [["postgres"], ["upgrade"], ["caddy", "metquery", "status"]]
    answer = json.loads(screen.out.getvalue())
    assert (answer["ok"], answer["proven"], answer["problems"]) == (True, True, [])
    assert {each["name"]: each["labels"] for each in answer["nodes"]} == swarm.labels


def test_images_are_called_by_their_content_and_pushed_where_there_is_a_registry(
    checkout: Checkout, swarm: FakeSwarm
) -> None:
    run(checkout)
    assert swarm.services["postgres"]["image"] == "postgres:postgres:17-"
    assert not [argv for argv in checkout.runner.commands() if argv[1] == "push"]
    checkout.with_env(COMPOSE_FILE=PROD, SWARM_IMAGE_PREFIX="registry.example:5000/wepp/")
    run(checkout)
    named = "registry.example:5000/wepp/postgres:postgres:17-"
    assert swarm.services["postgres"]["image"] == named
    assert ["docker", "tag", "postgres:17-trixie", named] in checkout.runner.commands()
    assert ["docker", "push", "--quiet", named] in checkout.runner.commands()


def test_what_is_no_longer_in_the_stack_is_removed_and_old_secrets_with_it(
    checkout: Checkout, swarm: FakeSwarm
) -> None:
    swarm.services["gone"] = {"image": "old", "deploy": {"replicas": 1}}
    run(checkout)
    commands = checkout.runner.commands()
    assert ["docker", "service", "rm", "wepppy_gone"] in commands
    assert ["docker", "secret", "rm", "wepppy_postgres_password_0ld"] in commands


def test_a_later_deploy_keeps_the_number_that_a_service_was_scaled_to(
    checkout: Checkout, swarm: FakeSwarm
) -> None:
    run(checkout)
    swarm.services["status"]["deploy"]["replicas"] = 4
    run(checkout)
    assert swarm.services["status"]["deploy"]["replicas"] == 4


def test_a_dry_run_prints_the_file_and_needs_no_swarm(checkout: Checkout) -> None:
    screen = Screen()
    deploy(checkout.compose(), screen.console, dry_run=True)
    assert set(json.loads(screen.out.getvalue())["services"]) == {
        "caddy", "metquery", "status", "postgres", "upgrade"
    }  # fmt: skip
    assert "docker save" in screen.err.getvalue()
    assert checkout.runner.commands() == []


def test_development_is_refused(checkout: Checkout, swarm: FakeSwarm) -> None:
    checkout.with_env()
    assert "mounts its source" in refused(checkout).what


def test_an_engine_that_manages_no_swarm_is_refused(checkout: Checkout) -> None:
    assert "no manager of a swarm" in refused(checkout).what


def test_a_stack_that_compose_runs_here_is_refused(checkout: Checkout, swarm: FakeSwarm) -> None:
    checkout.containers_are([container("postgres")])
    error = refused(checkout)
    assert "Compose runs wepppy on this machine: postgres" in error.what
    assert error.exit_code == 4


def test_images_that_are_not_here_are_named(checkout: Checkout, swarm: FakeSwarm) -> None:
    checkout.images_are(*IMAGES[1:])
    error = refused(checkout)
    assert error.what == "images that are not here: wepppy-caddy:dev"
    assert error.fix == "invoke compose-build"


@pytest.mark.parametrize(
    "labels", [{"one": {}, "two": {}}, {"one": {STORES: "true"}, "two": {STORES: "true"}}]
)
def test_a_node_for_the_volumes_must_be_named_and_be_the_only_one(
    checkout: Checkout, swarm: FakeSwarm, labels: dict[str, dict[str, str]]
) -> None:
    swarm.labels = {name: {PROXY: "true", **each} if name == "one" else each for name, each in labels.items()}
    error = refused(checkout)
    assert f"not exactly one node has the label {STORES}=true" in error.what
    assert f"docker node update --label-add {STORES}=true NODE (one, two)" in error.fix


def test_a_label_that_was_moved_does_not_start_an_empty_database(
    checkout: Checkout, swarm: FakeSwarm
) -> None:
    run(checkout)
    checkout.runner.calls.clear()
    swarm.labels = {"one": {PROXY: "true"}, "two": {STORES: "true"}}
    assert "the volumes of postgres are on one" in refused(checkout).what


@pytest.mark.parametrize(
    ("outcome", "what"),
    [
        # The task that failed was described otherwise than the service is now.
        (
            {"update": "rollback_completed", "error": "no", "image": "after"},
            "status: 0 of 1 run, rollback completed, two: no",
        ),
        ({"state": "failed", "error": "exit (1)", "tasks": 4}, "status: 0 of 1 run, two: exit (1)"),
        ({"state": "starting"}, "status: 0 of 1 run"),
        # Those of the description before run on.
        ({"image": "before"}, "status: 0 of 1 run"),
    ],
)  # fmt: skip
def test_a_service_that_does_not_get_well_ends_the_deploy_with_its_reason(
    checkout: Checkout, swarm: FakeSwarm, outcome: dict[str, Any], what: str
) -> None:
    swarm.outcome = lambda name: outcome if name == "status" else {}
    with pytest.raises(StackError) as caught:
        run(checkout)
    assert (caught.value.what, caught.value.exit_code) == (what, 5)
    assert "--- status" in caught.value.details
    assert ("********" in caught.value.details) == ("error" in outcome)
    assert "secret-word" not in caught.value.details


def test_a_migration_that_fails_once_ends_the_deploy_before_the_rest_is_changed(
    checkout: Checkout, swarm: FakeSwarm
) -> None:
    swarm.outcome = lambda name: {"state": "failed", "error": "exit (1)"} if name == "upgrade" else {}
    with pytest.raises(StackError, match="upgrade: 0 of 1 run, two: exit"):
        run(checkout)
    assert swarm.given == [["postgres"], ["upgrade"]]


def test_failures_from_before_the_deploy_do_not_end_it(checkout: Checkout, swarm: FakeSwarm) -> None:
    run(checkout)
    failing = {"state": "failed", "error": "exit (1)", "tasks": 4}
    clock = FakeClock()
    swarm.outcome = lambda name: failing if name == "status" and clock.seconds < 5 else {}
    run(checkout, clock=clock)
    assert clock.seconds >= 5


def test_a_node_without_the_image_is_told_how_to_get_it(checkout: Checkout, swarm: FakeSwarm) -> None:
    swarm.outcome = lambda _: {"state": "rejected", "error": "No such image: postgres:17", "tasks": 4}
    with pytest.raises(StackError) as caught:
        run(checkout)
    assert "docker save IMAGE | ssh NODE docker load" in caught.value.fix


def test_a_page_that_nobody_gets_fails_the_deploy(checkout: Checkout, swarm: FakeSwarm) -> None:
    with pytest.raises(
        StackError, match=r"no user gets https://wepp.example.org/status/health: it answered 502"
    ):
        run(checkout, reply=Reply(502, body="bad"))


def test_a_site_that_is_not_reached_from_here_is_told_as_not_proven(
    checkout: Checkout, swarm: FakeSwarm
) -> None:
    screen = Screen(as_json=True)
    run(checkout, screen, reply=Reply(0, problem="timed out"))
    assert json.loads(screen.out.getvalue())["proven"] is False
    assert "10.0.0.1:443 is not reached from here: timed out" in screen.err.getvalue()


def test_scaling_is_for_services_of_which_several_may_run(checkout: Checkout, swarm: FakeSwarm) -> None:
    run(checkout)
    look.scale(checkout.compose(), ["status=8", "metquery=2"])
    assert checkout.runner.commands()[-1] == [
        "docker", "service", "scale", "wepppy_status=8", "wepppy_metquery=2"
    ]  # fmt: skip
    for name in ("postgres", "caddy", "upgrade"):
        with pytest.raises(StackError, match=f"{name} cannot be scaled"):
            look.scale(checkout.compose(), [f"{name}=2"])
    for words in ([], ["status"], ["status=x"], ["nobody=2"]):
        with pytest.raises(StackError) as caught:
            look.scale(checkout.compose(), words)
        assert caught.value.exit_code == 2


def test_status_tells_lost_nodes_and_services_and_that_nothing_is_deployed(
    checkout: Checkout, swarm: FakeSwarm
) -> None:
    screen = Screen()
    assert look.status(checkout.compose(), screen.console) is False
    assert "wepppy is not deployed" in screen.err.getvalue()
    run(checkout)
    assert look.status(checkout.compose(), Screen().console) is True
    swarm.outcome = lambda name: {"tasks": 0} if name == "status" else {}
    screen = Screen()
    assert look.status(checkout.compose(), screen.console) is False
    assert "status: 0 of 1 run" in screen.err.getvalue()


def test_removing_ends_the_stack_and_says_that_volumes_stay(checkout: Checkout, swarm: FakeSwarm) -> None:
    screen = Screen()
    look.remove(checkout.compose(), screen.console)
    assert checkout.runner.commands() == [["docker", "stack", "rm", "--detach=false", "wepppy"]]
    assert "volumes stay" in screen.err.getvalue()


def test_compose_starts_nothing_beside_the_swarm_neither_on_a_manager_nor_on_a_node(
    checkout: Checkout, swarm: FakeSwarm
) -> None:
    ownership.require(checkout.compose())
    run(checkout)
    changed = len(checkout.runner.commands())
    tasks: list[Callable[[], object]] = [
        lambda: ownership.require(checkout.compose()),
        lambda: back_up(checkout.compose(), Screen().console),
        lambda: ProgramRun(checkout.compose(), Screen().console, ["list"]),
        lambda: lock.sole(checkout.compose()).__enter__(),
    ]
    for number, task in enumerate(tasks * 2):
        if number == len(tasks):
            node = {"Swarm": {"ControlAvailable": False, "LocalNodeState": "active"}}
            checkout.runner.on("docker", "info", stdout=json.dumps({"ServerVersion": "26.1", **node}))
            checkout.runner.on("docker", "ps", "label=com.docker.stack.namespace=wepppy", stdout="id\n")
        with pytest.raises(StackError, match="wepppy runs in a Docker Swarm") as caught:
            task()
        assert caught.value.exit_code == 4
    assert len(checkout.runner.commands()) == changed
