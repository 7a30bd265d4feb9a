"""The production stack on a Docker Swarm of three managers: deployed, used, scaled, updated under load, a node lost."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from tests.engine.lifetime import own_stack
from tests.engine.stack import Command
from tests.hosts.engines import Engine, engines, load
from tests.hosts.farm import build_images, production, shared_folder
from tests.hosts.site import PublicSite, traffic

PROBES = (
    "/weppcloud/health",
    "/browse/health",
    *(f"/weppcloud-microservices/{n}/health" for n in ("status", "preflight")),
)
PAGES = ("/weppcloud/api/csrf-token", "/weppcloud/static/site.css")
COUNT = "SELECT count(*) FROM run"
# Until a service of a lost node answers again.
RECOVERY_SECONDS = 30.0
DEADLINE_SECONDS = 180.0
RUNS = 12


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    """Return once it is so."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


class SwarmStack(PublicSite):
    """The stack, and the nodes it is on: stores and proxy on the first."""

    nodes: tuple[Engine, ...]

    def task(self, *arguments: str, check: bool = True, **variables: str) -> Command:
        """Run a task on the first node."""
        return self.invoke(*arguments, check=check, timeout=900, DOCKER_HOST=self.nodes[0].url, **variables)

    def status(self) -> dict[str, Any]:
        """What swarm-status says."""
        document: dict[str, Any] = json.loads(self.task("swarm-status", "--json", check=False).stdout)
        return document

    def services(self) -> dict[str, dict[str, Any]]:
        """The services by name."""
        return {each["service"]: each for each in self.status()["services"]}

    def container(self, service: str, node: Engine) -> str:
        """The id of a service's container on a node."""
        label = f"label=com.docker.swarm.service.name={self.name}_{service}"
        (container,) = node.docker("ps", "--quiet", "--filter", label).stdout.split()
        return container

    def inside(self, service: str, *command: str) -> str:
        """Run a command in a service's container on the first node."""
        first = self.nodes[0]
        return first.docker("exec", self.container(service, first), *command).stdout

    def computes(self, node: Engine) -> bool:
        """Whether a worker on a node is at a job."""
        told = node.docker("logs", self.container("rq-worker", node))
        text = f"{told.stdout}{told.stderr}"
        return text.count("default: run ") > text.count("Job OK")

    def start(self, name: str) -> str:
        """Create a run and start it; its id."""
        runid: str = self.post("/weppcloud/api/runs", {"name": name}).content["runid"]
        assert self.post(f"/weppcloud/api/runs/{runid}/start", {}).status == 202
        return runid

    def log(self, runid: str) -> str:
        """What workers logged into a run's folder."""
        path = Path(self.settings["WC1_DIR"]) / "runs" / runid[:2] / runid / "rq.log"
        return path.read_text() if path.is_file() else ""

    def rows(self, query: str) -> str:
        """What the database answers."""
        return self.inside(
            "postgres", "psql", "-XAtU", "postgres", "-d", self.settings["POSTGRES_DB"], "-c", query
        )

    def answers(self) -> bool:
        """Whether every backend answers now."""
        with traffic(self, PROBES, rate=100, visitors=len(PROBES), timeout=3) as told:
            while len(told.times) < len(PROBES):
                time.sleep(0.05)
        return not told.failed


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """What all nodes mount."""
    with shared_folder("swarm-shared") as made:
        yield made


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[SwarmStack]:
    """The stack with its images in three managers, the first labelled for stores and proxy; deployed."""
    with (
        engines("m1", "m2", "m3", folders=[folder]) as nodes,
        own_stack(SwarmStack, "swarm", **production(folder)) as made,
    ):
        made.nodes, made.node = nodes, nodes[0].address
        ours = build_images(made)
        load(ours, *nodes)
        first, *others = nodes
        first.docker("swarm", "init", "--advertise-addr", first.address)
        token = first.docker("swarm", "join-token", "--quiet", "manager").stdout.strip()
        for each in others:
            each.docker("swarm", "join", "--token", token, f"{first.address}:2377")
        refused = made.task("swarm-deploy", check=False)
        assert "not exactly one node has the label wepp.proxy=true" in refused.stderr
        first.docker("node", "update", "--label-add=wepp.stores=true", "--label-add=wepp.proxy=true", "m1")
        document = json.loads(made.task("swarm-deploy", "--dry-run", "--json").stdout)
        # By content, as a deploy calls them on the first node; the others are given these names too.
        for name in ours:
            number = first.docker("image", "inspect", "--format={{.Id}}", name).stdout[7:19]
            named = f"{name.rpartition(':')[0]}:{number}"
            assert named in {service["image"] for service in document["services"].values()}
            for other in others:
                other.docker("tag", name, named)
        answer = json.loads(made.task("swarm-deploy", "--json").stdout)
        assert (answer["ok"], answer["proven"], answer["problems"]) == (True, True, [])
        yield made


def test_every_service_runs_the_stores_and_the_proxy_on_their_node_and_others_elsewhere_too(
    stack: SwarmStack,
) -> None:
    services = stack.services()
    for name in ("postgres", "redis", "postgres-backup", "caddy"):
        assert services[name]["nodes"] == ["m1"], services[name]
    assert {node for each in services.values() for node in each["nodes"]} == {"m1", "m2", "m3"}


def test_a_run_is_computed_on_whichever_node_and_its_files_are_read_on_any_other(stack: SwarmStack) -> None:
    stack.compute("in the swarm")


def test_no_secret_is_in_what_the_swarm_tells_of_its_services(stack: SwarmStack) -> None:
    first = stack.nodes[0]
    names = first.docker("service", "ls", "--quiet").stdout.split()
    told = first.docker("service", "inspect", *names).stdout
    containers = first.docker("ps", "--all", "--quiet").stdout.split()
    told += first.docker("inspect", *containers).stdout
    for secret in ("postgres_password", "redis_password", "flask_secret_key"):
        assert f"{stack.name}_{secret}_" in told
        assert stack.secret(secret).strip() not in told


def test_containers_have_no_capability_a_read_only_root_and_their_limits(stack: SwarmStack) -> None:
    for node in stack.nodes:
        for number in node.docker("ps", "--quiet").stdout.split():
            (told,) = json.loads(node.docker("inspect", number).stdout)
            host = told["HostConfig"]
            assert (host["CapDrop"], host["ReadonlyRootfs"]) == (["ALL"], True), told["Name"]
            assert host["Memory"], told["Name"]
            assert host["PidsLimit"], told["Name"]


def test_no_task_starts_the_same_volumes_beside_the_swarm(stack: SwarmStack) -> None:
    for words in (["compose-up", "--no-build"], ["db-backup"], ["db-backups"], ["redis-repair"]):
        refused = stack.task(*words, check=False)
        assert refused.returncode == 4, refused.stderr
        assert "runs in a Docker Swarm, with the volumes that this task would use" in refused.stderr
    assert not stack.nodes[0].docker("ps", "--quiet", "--filter=label=com.docker.compose.config-hash").stdout


def test_the_database_is_backed_up_and_brought_back_by_its_program_in_the_swarm(stack: SwarmStack) -> None:
    before = stack.rows(COUNT)
    dump = stack.inside("postgres-backup", "wepp-backup", "dump")
    assert "rows" in dump
    stack.rows("TRUNCATE run CASCADE")
    program = ("wepp-backup", "--json", "restore", "--dump", "latest")
    command = [
        "docker",
        "exec",
        "--interactive",
        stack.container("postgres-backup", stack.nodes[0]),
        *program,
    ]
    environment = {**os.environ, **stack.nodes[0].environment}
    with subprocess.Popen(command, env=environment, text=True, stdin=PIPE, stdout=PIPE) as restoring:
        assert restoring.stdin
        assert restoring.stdout
        restoring.stdin.write("go\nswitch\nkeep\n")
        restoring.stdin.flush()
        told = restoring.stdout.read()
    assert '"kind": "result"' in told.splitlines()[-1], told
    assert stack.rows(COUNT) == before


def test_more_of_a_service_run_when_asked_and_a_later_deploy_keeps_the_number(stack: SwarmStack) -> None:
    stack.task("swarm-scale", "weppcloud=2")
    assert stack.services()["weppcloud"]["running"] == 2
    stack.task("swarm-deploy")
    assert stack.services()["weppcloud"]["running"] == 2
    refused = stack.task("swarm-scale", "postgres=2", check=False)
    assert refused.returncode == 4


def test_an_update_under_100_requests_a_second_fails_none(stack: SwarmStack) -> None:
    # A little more, or it would be a little less.
    with traffic(stack, PAGES, rate=110) as told:
        stack.task("swarm-deploy", WEPPCLOUD_THREADS="5")
    print(told)
    assert stack.services()["weppcloud"]["update"] == "completed"
    assert told.failed == {}
    assert told.rate >= 100


def test_an_update_that_cannot_start_is_rolled_back_while_the_site_answers(stack: SwarmStack) -> None:
    with traffic(stack, PAGES, rate=20) as told:
        failed = stack.task("swarm-deploy", check=False, WEPPCLOUD_TIMEOUT="nonsense")
    assert failed.returncode == 5, failed.stderr
    assert "weppcloud: 2 of 2 run, rollback completed" in failed.stderr
    assert "invalid int value: 'nonsense'" in failed.stderr
    assert told.failed == {}
    assert stack.status()["ok"] is False
    stack.task("swarm-deploy")
    assert stack.status()["ok"] is True


def test_what_ran_on_a_lost_node_answers_again_from_another_and_its_runs_end_once(stack: SwarmStack) -> None:
    stack.task("swarm-scale", "rq-worker=3")
    lost = max(
        stack.nodes[1:], key=lambda node: sum(node.name in s["nodes"] for s in stack.services().values())
    )
    assert stack.answers()
    runids = [stack.start(f"run {number}") for number in range(RUNS)]
    wait_until("the node computes", lambda: stack.computes(lost))
    lost.kill()
    began = time.monotonic()
    well = 0
    # More than once in a row: connections to what is gone are given up one by one.
    while well < 3:
        assert time.monotonic() - began < DEADLINE_SECONDS
        well = well + 1 if stack.answers() else 0
        back = time.monotonic() - began
    print(f"{lost.name} lost: all answer again after {back:.1f} s")
    assert f"node {lost.name} is down, active" in stack.status()["problems"]
    wait_until("all runs end", lambda: all("run_project COMPLETED" in stack.log(each) for each in runids))
    assert any("queued again" in stack.log(each) for each in runids)
    assert [stack.log(each).count("run_project COMPLETED") for each in runids] == [1] * RUNS
    lost.start()
    wait_until("the node is back", lambda: stack.status()["ok"])
    assert back < RECOVERY_SECONDS


def test_removing_the_stack_keeps_its_data_for_the_next_deploy(stack: SwarmStack) -> None:
    before = stack.rows(COUNT)
    assert int(before) > 0
    stack.task("swarm-remove")
    for kind in ("service", "secret", "config"):
        assert stack.nodes[0].docker(kind, "ls", "--quiet").stdout == ""
    assert f"{stack.name}_postgres-data" in stack.nodes[0].docker("volume", "ls").stdout
    stack.task("swarm-deploy")
    assert stack.rows(COUNT) == before
