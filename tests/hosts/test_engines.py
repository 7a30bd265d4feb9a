"""The hosts that other tests stand on: engines that are apart, can be lost and come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import containers
from tests.hosts.engines import Engine, engines, run

Pair = tuple[Engine, ...]


@pytest.fixture(scope="module")
def program() -> str:
    """A small image with a shell and Python."""
    return containers.stand_in("python")


@pytest.fixture(scope="module")
def pair(program: str) -> Iterator[Pair]:
    """Two hosts, the image in both."""
    with engines("a", "b") as made:
        for each in made:
            each.load(program)
        yield made


def test_each_engine_runs_containers_that_the_other_does_not_know(pair: Pair, program: str) -> None:
    a, b = pair
    for each in pair:
        said = each.docker("run", "--rm", "--name=same", "--network=host", program, "hostname").stdout
        assert said.strip() == each.name
    a.docker("run", "--detach", "--name=only-here", program, "sleep", "infinity")
    assert not a.docker("inspect", "only-here", check=False).returncode
    assert b.docker("inspect", "only-here", check=False).returncode


def test_a_published_port_is_at_the_hosts_address_and_a_cut_is_seen_by_containers(
    pair: Pair, program: str
) -> None:
    a, b = pair
    serve = ("python", "-m", "http.server", "8000")
    a.docker("run", "--detach", "--name=web", "--publish=8000:8000", program, *serve)
    ask = (
        "import time, urllib.request\n"
        f"def ask():\n    return urllib.request.urlopen('http://{a.address}:8000/', timeout=2).status\n"
        "for _ in range(50):\n"
        "    try:\n        print(ask()); break\n"
        "    except ConnectionError: time.sleep(0.1)\n"
    )
    asking = ("run", "--rm", program, "python", "-c", ask)
    assert b.docker(*asking).stdout.strip() == "200"
    for directions in ({"outgoing": False}, {"incoming": False}):
        with a.partition(b.address, **directions):
            assert "timed out" in b.docker(*asking, check=False).stderr
    assert b.docker(*asking).stdout.strip() == "200"


def test_containers_outlive_their_engine_but_not_their_host(pair: Pair, program: str) -> None:
    a, _ = pair
    a.docker("run", "--detach", "--name=long", program, "sleep", "987654")
    a.kill_engine()
    assert a.docker("ps", check=False).returncode
    assert "987654" in a.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    a.start()
    a.kill()
    assert run("docker", "inspect", "--format={{.State.Running}}", a.container).stdout.strip() == "false"
    a.start()
    assert a.docker("inspect", "--format={{.State.Running}}", "long").stdout.strip() == "false"
    assert program in a.docker("images", "--format={{.Repository}}:{{.Tag}}").stdout
