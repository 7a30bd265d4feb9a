"""What runs, told for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.base.clock import duration
from scripts.base.console import Console, Show
from scripts.engine import problems
from scripts.engine.container import container_of
from scripts.stack import status
from tests.unit.fakes import Checkout, FakeClock, Screen, container


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.with_env()
    made.containers_are(
        [
            container(
                "status", ports={"9002/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9002"}], "1/tcp": None}
            ),
            container("caddy", health="unhealthy"),
            container("upgrade", status="exited", health=""),
            container("metquery", status="exited", health="", exit_code=137),
            container("retired"),
        ]
    )
    made.runner.on("docker", "stats", stdout="id-status\t12.5MiB / 256MiB\n")
    return made


def test_every_service_is_told_with_state_ports_uptime_and_memory(checkout: Checkout) -> None:
    screen = Screen()
    assert not status.show(checkout.compose(), screen.console, FakeClock(3700.0))
    rows = {line.split()[0]: line for line in screen.out.getvalue().splitlines()}
    assert rows["status"].split()[1] == "healthy"
    assert "127.0.0.1:9002" in rows["status"]
    assert "1 h 1 min" in rows["status"]
    assert "12.5MiB" in rows["status"]
    assert "unhealthy" in rows["caddy"]
    assert "done" in rows["upgrade"]
    assert "failed" in rows["metquery"]
    told = screen.err.getvalue()
    assert "warning: caddy is unhealthy: fine" in told
    assert "warning: metquery is failed (exit status 137" in told
    assert "warning: postgres has no container (start it: invoke compose-up)" in told
    assert "retired" not in told
    assert "absent" in rows["postgres"]
    assert "not in the compose files" in rows["retired"]


def test_the_json_answer_is_one_document(checkout: Checkout) -> None:
    screen = Screen(as_json=True)
    status.show(checkout.compose(), screen.console, FakeClock(60.0))
    answer = json.loads(screen.out.getvalue())
    assert answer["ok"] is False
    assert [each["about"] for each in answer["problems"]] == ["caddy", "metquery", "postgres"]
    rows = {each["service"]: each for each in answer["services"]}
    assert rows["status"]["uptime"] == 60
    assert rows["metquery"]["uptime"] is None
    assert rows["postgres"]["state"] == "absent"


def test_a_stack_that_is_well_has_no_problems(checkout: Checkout) -> None:
    names = ("caddy", "status", "metquery", "postgres")
    done = container("upgrade", status="exited", health="")
    checkout.containers_are([*(container(name) for name in names), done])
    screen = Screen(as_json=True)
    assert status.show(checkout.compose(), screen.console, FakeClock())
    answer = json.loads(screen.out.getvalue())
    assert answer["ok"] is True
    assert answer["problems"] == []


@pytest.mark.parametrize(
    ("stderr", "refused"),
    [
        ('psql: error: FATAL:  password authentication failed for user "wepppy"', True),
        ("psql: error: connection refused", False),
        ("", False),
    ],
)
def test_a_password_that_the_database_refuses_is_a_problem(
    checkout: Checkout, stderr: str, refused: bool
) -> None:
    checkout.with_secrets(postgres_password=r"pass:wo\rd")
    compose = checkout.compose()
    checkout.runner.on("docker", "exec", stderr=stderr, returncode=2 if stderr else 0)
    sidecar = container_of(container("postgres-backup"))
    found = problems.of_password(compose, [sidecar])
    assert [each.fix for each in found] == (
        ["give the role and the file one password: invoke db-rotate-password"] if refused else []
    )
    call = checkout.runner.calls[-1]
    assert call.stdin == "*:*:*:*:pass\\:wo\\\\rd\n"
    assert "PGUSER=wepppy" in call.argv
    assert not any("wo\\rd" in word for word in [*call.argv, *call.env.values()])


@pytest.mark.parametrize(
    ("host", "can", "refused", "password", "roles"),
    [
        ("postgres", "createdb", False, "", ""),
        ("postgres", "neither", False, "", ""),
        ("postgres", "createdb", True, "invoke db-rotate-password --superuser", ""),
        ("postgres", "superuser", True, "", "restore it into a new volume"),
        ("db.example.org", "createdb", True, "", ""),
        ("db.example.org", "neither", True, "", "ALTER ROLE wepppy CREATEDB"),
        ("db.example.org", "superuser", True, "", "ALTER ROLE wepppy NOSUPERUSER CREATEDB"),
    ],
)
def test_what_the_role_can_do_and_whether_the_superusers_password_holds(
    checkout: Checkout, host: str, can: str, refused: bool, password: str, roles: str
) -> None:
    checkout.with_env(POSTGRES_HOST=host)
    checkout.with_secrets(postgres_password="word", postgres_superuser_password="other")
    checkout.runner.on("docker", "exec", "PGUSER=wepppy", stdout=f" {can}\n\n")
    complaint = 'psql: error: FATAL:  password authentication failed for user "postgres"' if refused else ""
    checkout.runner.on("docker", "exec", "PGUSER=postgres", stderr=complaint, returncode=2 if refused else 0)
    sidecar = [container_of(container("postgres-backup"))]
    for expected, found in (
        (password, problems.of_password(checkout.compose(), sidecar)),
        (roles, problems.of_roles(checkout.compose(), sidecar)),
    ):
        assert len(found) == bool(expected)
        assert all(expected in each.fix for each in found)


def test_of_two_containers_of_a_service_the_one_that_is_not_well_is_told(checkout: Checkout) -> None:
    stopped, runs = container("status", status="exited", health=""), container("status")
    for answers in ([stopped, runs], [runs, stopped]):
        checkout.containers_are(answers)
        states = {row.service: row.state for row in status.rows(checkout.compose(), 0.0)}
        assert states["status"] == "stopped"


def test_watching_without_a_terminal_shows_the_state_once(checkout: Checkout) -> None:
    screen, clock = Screen(), FakeClock()
    status.watch(checkout.compose(), screen.console, clock)
    assert screen.out.getvalue().count("SERVICE") == 1
    assert clock.seconds == 0


class Terminal(Console):
    """A terminal whose user presses Ctrl-C when the state was drawn."""

    @property
    def pretty(self) -> bool:
        return True

    @contextmanager
    def live(self, columns: Sequence[str]) -> Iterator[Show]:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        yield interrupted


def test_ctrl_c_ends_watching_as_it_should_end(checkout: Checkout) -> None:
    assert status.watch(checkout.compose(), Terminal(), FakeClock())


def test_services_that_are_off_and_have_no_container_are_left_out(checkout: Checkout) -> None:
    checkout.containers_are([])
    names = [row.service for row in status.rows(checkout.compose("core"), 0.0)]
    assert "metquery" not in names
    assert "postgres" in names


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (183845, "2 d 3 h")]
)
def test_durations_are_told_in_their_two_largest_units(seconds: int, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("1970-01-01T00:00:10.123456789Z", 89),
        ("1970-01-01T00:00:10Z", 90),
        ("1970-01-01T00:02:00Z", 0),
        ("", None),
    ],
)
def test_the_engines_moments_are_understood(moment: str, seconds: int | None) -> None:
    assert status.seconds_since(moment, 100.0) == seconds
