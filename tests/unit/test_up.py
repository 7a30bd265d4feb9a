"""`compose-up`: every step in order, every failure with its reason, every repetition harmless."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.engine.runner import Result
from scripts.prepare import overlays, ownership
from scripts.stack.up import Options
from tests.unit.attempt import Attempt
from tests.unit.fakes import Checkout, Screen, container, model

LISTED = "COMPOSE_FILE=docker/docker-compose.dev.yml"


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    checkout.with_secrets()
    return Attempt(checkout)


def test_a_good_start_waits_for_health_probes_and_tells_the_addresses(attempt: Attempt) -> None:
    attempt.run()
    (up,) = attempt.streamed("up")
    assert up[-5:] == ["--detach", "--no-build", "--wait", "--wait-timeout", "300"]
    assert "http://localhost:8080/met/" in attempt.screen.out.getvalue()
    assert (attempt.checkout.root / ".docker-data" / "secrets" / "postgres_password").exists()
    folder = attempt.checkout.root / ".docker-data" / "postgres-backups"
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert attempt.streamed("build") == []


def test_a_bare_clone_gets_its_settings_first_and_is_told_so(tmp_path: Path) -> None:
    attempt = Attempt(Checkout(tmp_path))
    attempt.run()
    assert (tmp_path / ".env").exists()
    assert ".env was missing: written" in attempt.screen.err.getvalue()


@pytest.mark.parametrize("services", [(), ("status",)])
def test_files_under_an_older_name_are_kept_as_long_as_a_container_may_mount_them(
    attempt: Attempt, services: tuple[str, ...]
) -> None:
    attempt.checkout.with_secrets(secret_key="the-old-one")
    attempt.options = Options(services=services)
    attempt.run()
    folder = attempt.checkout.root / ".docker-data" / "secrets"
    assert (folder / "flask_secret_key").read_text() == "the-old-one"
    assert (folder / "secret_key").exists() == bool(services)


def test_no_secret_is_in_any_argument_or_variable(attempt: Attempt) -> None:
    attempt.options = Options(build=True)
    attempt.run()
    for call in attempt.checkout.runner.calls:
        assert not any("secret-word" in word for word in [*call.argv, *call.env.values()])


def test_the_json_answer_is_one_document_and_nothing_else(attempt: Attempt) -> None:
    attempt.screen = Screen(as_json=True)
    attempt.run()
    answer = json.loads(attempt.screen.out.getvalue())
    states = {each["name"]: (each["state"], each["probe"]) for each in answer["services"]}
    assert answer["ok"] is True
    assert states["status"] == ("healthy", "ok")
    assert states["upgrade"] == ("done", "")


def test_the_doctor_stops_the_start_before_anything_is_changed(attempt: Attempt) -> None:
    attempt.machine.taken = {9002: errno.EADDRINUSE}
    error = attempt.fails()
    assert error.exit_code == 3
    assert "port 9002" in error.what
    assert attempt.checkout.runner.commands() == []


def test_a_stopped_engine_is_told_and_nothing_is_tried(attempt: Attempt) -> None:
    attempt.checkout.runner.on("docker", "info", stderr="Cannot connect to the Docker daemon", returncode=1)
    assert "not running" in attempt.fails().what
    assert attempt.checkout.runner.commands() == []


def test_missing_images_are_built_from_base_images_that_are_seen_to_first(attempt: Attempt) -> None:
    attempt.checkout.images_are("postgres:17-trixie")
    attempt.run()
    assert attempt.base_images == 1
    assert attempt.checkout.runner.commands()[0][-1] == "build"


def test_no_build_never_builds_and_build_always_does(attempt: Attempt) -> None:
    attempt.options = Options(build=True)
    attempt.run()
    assert len(attempt.streamed("build")) == 1
    attempt.checkout.images_are("postgres:17-trixie")
    attempt.options = Options(build=False)
    attempt.run()
    assert len(attempt.streamed("build")) == 1


def test_a_build_that_fails_leaves_what_runs_alone(attempt: Attempt) -> None:
    attempt.options = Options(build=True)
    attempt.checkout.runner.on("build", returncode=17)
    error = attempt.fails()
    assert error.exit_code == 5
    assert "build" in error.what
    assert attempt.streamed("up") == []


def test_a_service_that_fails_is_shown_with_its_health_and_its_last_words(attempt: Attempt) -> None:
    attempt.checkout.containers_are(
        [
            container("status", health="unhealthy", health_output="connection refused\n"),
            container("upgrade", status="exited", health="", exit_code=1),
            container("metquery", status="created", health=""),
            container("postgres"),
        ]
    )
    attempt.checkout.runner.on(
        "docker", "logs", stdout="1970-01-01T00:00:01Z no database a-very-secret-word\n"
    )
    attempt.checkout.runner.on("up", stdout="container wepppy-status-1 is unhealthy", returncode=1)
    error = attempt.fails()
    assert error.exit_code == 5
    assert error.what == "not healthy: status: connection refused; upgrade: no database ********"
    assert "last health check: connection refused" in error.details
    assert "--- upgrade: failed (exit status 1)" in error.details
    assert "metquery" not in error.details
    assert "no database ********" in error.details
    assert "invoke compose-up" in error.fix


def test_the_log_tail_is_twenty_lines_and_its_cause_is_told_first(attempt: Attempt) -> None:
    log = [
        "Traceback (most recent call last):",
        '  File "/workdir/wepppy/wepppy/app.py", line 7, in <module>',
        "ModuleNotFoundError: No module named 'nosuchmodule'",
        *(f"consequence {number}" for number in range(30)),
    ]
    attempt.checkout.containers_are([container("status", health="unhealthy")])
    timed = "".join(f"1970-01-01T00:00:{number:02}Z {line}\n" for number, line in enumerate(log, 10))
    attempt.checkout.runner.on("docker", "logs", stdout=timed)
    attempt.checkout.runner.on("up", returncode=1)
    error = attempt.fails()
    cause = "ModuleNotFoundError: No module named 'nosuchmodule' (/workdir/wepppy/wepppy/app.py, line 7)"
    assert error.what == f"not healthy: status: {cause}"
    assert error.details.splitlines()[1] == f"cause: {cause}"
    assert error.details.count("consequence") == 20


def test_a_service_that_was_stopped_is_started_though_nothing_else_changed(attempt: Attempt) -> None:
    checkout = attempt.checkout
    attempt.run()
    names = ["caddy", "metquery", "postgres"]
    there = [container(name) for name in names] + [container("upgrade", status="exited", health="")]
    checkout.containers_are([*there, container("status", status="exited", health="")])
    checkout.starts(*there, container("status"))
    attempt.run()
    assert len(attempt.streamed("up")) == 2
    assert attempt.screen.err.getvalue().count("services up") == 2


def test_a_service_that_ends_right_after_its_start_is_a_failure(attempt: Attempt) -> None:
    attempt.checkout.starts(
        *(container(name) for name in ("caddy", "metquery", "postgres")),
        container("upgrade", status="exited", health=""),
        container("status", status="exited", health="", exit_code=0),
    )
    error = attempt.fails()
    assert error.exit_code == 5
    assert "status" in error.what
    assert "--- status: stopped" in error.details


@pytest.mark.parametrize(
    ("state", "commands"), [("paused", [["unpause"], ["restart"]]), ("dead", [["rm", "--force"]])]
)
def test_what_compose_cannot_start_is_restarted_or_removed_first(
    attempt: Attempt, state: str, commands: list[list[str]]
) -> None:
    there = [container(name) for name in ("caddy", "metquery", "postgres")]
    there.append(container("upgrade", status="exited", health=""))
    attempt.checkout.containers_are([*there, container("status", status=state)])
    for command in commands:
        attempt.checkout.runner.on("docker", command[0])
    attempt.checkout.starts(*there, container("status"))
    attempt.run()
    first = attempt.checkout.runner.commands()[: len(commands)]
    assert first == [["docker", *command, "wepppy-status-1"] for command in commands]


def test_an_engine_that_stops_answering_is_told_and_is_no_empty_stack(attempt: Attempt) -> None:
    attempt.checkout.runner.on("docker", "inspect", "container", stdout="", stderr="", returncode=124)
    error = attempt.fails()
    assert "does not answer" in error.what
    assert attempt.streamed("up") == []


def test_a_backend_that_the_proxy_does_not_reach_is_a_failure(attempt: Attempt) -> None:
    attempt.answers["/met/health"] = "OK"
    error = attempt.fails()
    assert error.exit_code == 5
    assert "not reached through the proxy: metquery" in error.what
    assert "http://localhost:8080/met/health" in error.details


def test_ctrl_c_is_passed_on_and_the_next_start_heals(attempt: Attempt) -> None:
    def interrupted(argv: Sequence[str]) -> Result:
        raise KeyboardInterrupt

    attempt.checkout.runner.do("up", action=interrupted)
    with pytest.raises(KeyboardInterrupt):
        attempt.run()
    attempt.checkout.runner.on("up")
    attempt.run()


def test_named_services_are_started_with_what_they_need_and_only_they_are_probed(attempt: Attempt) -> None:
    attempt.options = Options(services=("status",))
    attempt.answers = {}
    attempt.run()
    assert attempt.streamed("up")[0][-1] == "status"


def test_a_store_that_others_run_is_not_missed(attempt: Attempt) -> None:
    rendered = model(attempt.checkout.root)
    rendered["services"]["postgres"]["profiles"] = ["bundled-postgres"]
    rendered["services"]["status"]["depends_on"]["postgres"] = {"required": False}
    attempt.checkout.runner.on("config", "json", stdout=json.dumps(rendered))
    attempt.checkout.containers_are(
        [container(name) for name in ("caddy", "status", "metquery")]
        + [container("upgrade", status="exited", health="")]
    )
    attempt.run()
    assert "not running" not in attempt.screen.err.getvalue()


def test_an_unknown_service_is_a_usage_error(attempt: Attempt) -> None:
    attempt.options = Options(services=("statsu",))
    assert attempt.fails().exit_code == 2


def test_profiles_of_the_command_line_replace_those_of_the_file(attempt: Attempt) -> None:
    attempt.profiles = ("core",)
    attempt.answers.pop("/met/health")
    attempt.run()
    (up,) = attempt.streamed("up")
    assert up[up.index("--profile") + 1] == "core"


def test_nothing_is_started_twice_but_the_jobs_of_every_start_are(attempt: Attempt) -> None:
    attempt.run()
    attempt.run()
    assert len(attempt.streamed("up")) == 1
    assert attempt.streamed("start") == [["docker", "start", "wepppy-upgrade-1"]]


def test_a_start_that_changes_nothing_names_the_flag_that_looks_at_what_images_are_made_of(
    attempt: Attempt,
) -> None:
    attempt.run()
    assert "--build" not in attempt.screen.err.getvalue()
    attempt.run()
    assert "(Go code, requirements, Dockerfiles, in production the tree) comes in with --build" in (
        attempt.screen.err.getvalue()
    )


def test_a_job_that_fails_at_a_repeated_start_is_a_failure(attempt: Attempt) -> None:
    attempt.run()
    attempt.checkout.runner.on("docker", "wait", stdout="1\n")
    assert attempt.fails().exit_code == 5


@pytest.mark.parametrize("change", ["container", "image", "model", "health"])
def test_whatever_changed_since_the_last_start_is_seen(attempt: Attempt, change: str) -> None:
    attempt.run()
    checkout = attempt.checkout
    names = ["caddy", "status", "metquery", "postgres"]
    answers = [container(name) for name in names] + [container("upgrade", status="exited", health="")]
    if change == "container":
        answers[0]["Id"] = "id-another"
    elif change == "health":
        checkout.starts(*answers)
        answers = [*answers]
        answers[0] = container("caddy", health="starting")
    elif change == "image":
        checkout.runner.on("docker", "image", "inspect", stdout="sha256:new\n")
    else:
        rendered = json.loads(json.dumps(checkout.compose().model))
        rendered["services"]["status"]["environment"] = {"NEW": "1"}
        checkout.runner.on("config", "json", stdout=json.dumps(rendered))
    checkout.containers_are(answers)
    attempt.run()
    assert len(attempt.streamed("up")) == 2


def test_state_that_cannot_be_read_is_none(attempt: Attempt) -> None:
    attempt.run()
    (attempt.checkout.root / ".docker-data" / ownership.LAST_UP).write_text("{ half")
    attempt.run()
    assert len(attempt.streamed("up")) == 2


@pytest.fixture
def listing(attempt: Attempt) -> Path:
    """The `.env` of a checkout, which lists an overlay of an earlier release."""
    env = attempt.checkout.root / ".env"
    env.write_text(env.read_text().replace(f"{LISTED}\n", f"{LISTED}:{overlays.GONE[0]}\n"))
    return env


def test_an_overlay_that_is_no_more_is_taken_out_of_the_list(attempt: Attempt, listing: Path) -> None:
    attempt.run()
    assert f"{LISTED}\n" in listing.read_text()


def test_a_compose_file_list_of_the_environment_is_not_written_to_the_file(
    attempt: Attempt, listing: Path
) -> None:
    attempt.checkout.environment["COMPOSE_FILE"] = "docker/docker-compose.dev.yml"
    before = listing.read_text()
    attempt.run()
    assert listing.read_text() == before


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, dry=True)
    checkout.with_env(SECRET_KEY="of-an-older-stack")
    before = (tmp_path / ".env").read_text()
    attempt = Attempt(checkout)
    attempt.run()
    assert not (tmp_path / ".docker-data").exists()
    assert (tmp_path / ".env").read_text() == before
    assert [argv for argv in checkout.runner.commands("dry") if "up" in argv]
    assert checkout.runner.commands("stream") == []


def test_a_service_that_was_not_started_because_another_failed_is_left_out(attempt: Attempt) -> None:
    attempt.checkout.containers_are(
        [
            container("upgrade", status="exited", health="", exit_code=1),
            container("status", status="exited", health=""),
        ]
    )
    attempt.checkout.runner.on("up", returncode=1)
    error = attempt.fails()
    assert error.what == "not healthy: upgrade: last words"
    assert error.document()["services"] == [{"name": "upgrade", "cause": "last words"}]


def test_a_clone_made_under_a_strict_umask_is_opened(attempt: Attempt) -> None:
    sample = attempt.checkout.root / "docker" / "sample"
    rendered = model(attempt.checkout.root)
    rendered["services"]["status"]["volumes"] = [
        {"type": "bind", "source": str(sample), "target": "/workdir/wepppy"}
    ]
    attempt.checkout.runner.on("config", "json", stdout=json.dumps(rendered))
    for path in (sample, *sample.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    attempt.run()
    assert sample.stat().st_mode & 0o777 == 0o755
