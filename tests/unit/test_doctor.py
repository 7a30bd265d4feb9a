"""The examination names what is wrong, who is to blame and what to do; only errors stop the stack."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.base import host
from scripts.base.errors import StackError
from scripts.prepare.doctor import examination
from scripts.prepare.finding import Finding, Level
from scripts.settings import env_editing, envfile
from tests.unit.examining import errors, only, warnings, well
from tests.unit.fakes import GIB, Checkout, FakeHost, Screen, container, model


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return well(tmp_path)


def test_a_good_machine_has_no_findings_but_good_ones(checkout: Checkout) -> None:
    findings = examination.examine(checkout.compose(), FakeHost())
    assert {each.level for each in findings} == {Level.OK}
    assert {"settings", "engine", "compose", "buildx", "memory", "disk", "ports", "source tree"} <= {
        each.check for each in findings
    }


def test_a_missing_env_file_is_told_once(checkout: Checkout) -> None:
    (checkout.root / ".env").unlink()
    assert ".env is missing" in only(errors(checkout)).what


def test_a_malformed_env_file_is_told_with_its_line(checkout: Checkout) -> None:
    (checkout.root / ".env").write_text("A='open\n")
    assert "line 1 is malformed" in only(errors(checkout)).what


@pytest.mark.parametrize(
    ("stderr", "what", "fix"),
    [
        (
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            "not running",
            "start it",
        ),
        ("permission denied while trying to connect to the Docker daemon socket", "no permission", "usermod"),
        (
            "WARNING: Error loading config file: open /root/.docker/config.json: permission denied\n"
            "failed to connect to the docker API at unix:///x: no such file or directory",
            "not running",
            "start it",
        ),
        ("something else entirely", "something else entirely", "docker info"),
    ],
)
def test_an_engine_that_does_not_answer_is_told_with_the_reason(
    checkout: Checkout, stderr: str, what: str, fix: str
) -> None:
    checkout.runner.on("docker", "info", stdout='{"ServerVersion":""}', stderr=stderr, returncode=1)
    finding = only(errors(checkout))
    assert what in finding.what
    assert fix in finding.fix


def test_an_engine_error_inside_a_good_answer_is_found_too(checkout: Checkout) -> None:
    """Older clients answer with status 0 and say in the document that they reached nobody."""
    answer = {"ServerErrors": ["Cannot connect to the Docker daemon. Is the docker daemon running?"]}
    checkout.runner.on("docker", "info", stdout=json.dumps(answer))
    assert "not running" in only(errors(checkout)).what


def test_docker_itself_may_be_missing(checkout: Checkout) -> None:
    for words in (["info"], ["compose"]):
        checkout.runner.on("docker", *words, stderr="docker is not installed", returncode=127)
    found = errors(checkout)
    assert "docker is not installed" in [each.what for each in found]
    assert all("scripts/setup" in each.fix or each.check == "compose files" for each in found)


@pytest.mark.parametrize("version", ["1.29.2", "v2.24.0", "v2.25.0", "nonsense"])
def test_an_old_compose_is_an_error(checkout: Checkout, version: str) -> None:
    checkout.engine_is(compose=version, buildx="0.13.1")
    assert "older than 2.26" in only(errors(checkout)).what


def test_an_engine_that_refuses_quick_health_checks_is_told(checkout: Checkout) -> None:
    checkout.engine_is("24.0.9")
    assert "older than 25" in only(errors(checkout)).what


def test_missing_buildx_is_an_error(checkout: Checkout) -> None:
    checkout.engine_is(compose="2.26.1")
    assert "buildx is missing" in only(errors(checkout)).what


def test_a_port_taken_by_a_process_is_told_with_its_name(checkout: Checkout) -> None:
    finding = only(errors(checkout, FakeHost(taken={9002: errno.EADDRINUSE})))
    assert finding.what == "port 9002 of status is taken by nginx (process 12)"
    assert "PORT_STATUS" in finding.fix


def publishes(checkout: Checkout, **published: Any) -> None:
    """One container runs, of the service status, with these ports."""
    checkout.runner.on("docker", "ps", "--quiet", stdout="id-status\n")
    answer = container("status", **published)
    checkout.runner.on("docker", "inspect", "container", stdout=json.dumps([answer]))


OURS = {"9002/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9002"}], "9003/tcp": None}


def test_a_port_taken_by_another_stack_is_told_with_its_container(checkout: Checkout) -> None:
    publishes(checkout, project="other", ports=OURS)
    finding = only(errors(checkout, FakeHost(taken={9002: errno.EADDRINUSE})))
    assert "container wepppy-status-1 of project other" in finding.what


@pytest.mark.parametrize("state", [{"ports": OURS, "bindings": OURS}, {"ports": {}, "bindings": OURS}])
def test_our_own_containers_may_hold_their_ports_also_while_the_engine_starts_them_again(
    checkout: Checkout, state: dict[str, Any]
) -> None:
    publishes(checkout, **state)
    assert errors(checkout, FakeHost(taken={9002: errno.EADDRINUSE})) == []


def test_ports_of_services_that_are_off_do_not_matter(checkout: Checkout) -> None:
    changed = model(checkout.root)
    changed["services"]["metquery"]["ports"] = [{"published": "8004", "target": 8004}]
    checkout.runner.on("config", "json", stdout=json.dumps(changed))
    taken = FakeHost(taken={8004: errno.EADDRINUSE})
    assert "8004" in only(errors(checkout, taken)).what
    assert examination.errors_of(examination.examine(checkout.compose("core"), taken)) == []


def test_two_services_on_one_port_are_told(checkout: Checkout) -> None:
    changed = model(checkout.root)
    changed["services"]["status"]["ports"][0]["published"] = "8080"
    checkout.runner.on("config", "json", stdout=json.dumps(changed))
    assert "both want port 8080" in only(errors(checkout)).what


@pytest.mark.parametrize(
    ("free", "level"), [(GIB, Level.ERROR), (5 * GIB, Level.WARNING), (50 * GIB, Level.OK)]
)
def test_a_disk_that_is_nearly_full_stops_the_start(checkout: Checkout, free: int, level: Level) -> None:
    findings = examination.examine(checkout.compose(), FakeHost(free=free))
    assert {each.level for each in findings if "disk" in each.check} == {level}


@pytest.mark.parametrize(("gib", "level"), [(1, Level.ERROR), (2, Level.WARNING), (4, Level.OK)])
def test_memory_is_weighed_against_the_profiles(checkout: Checkout, gib: int, level: Level) -> None:
    checkout.runner.on(
        "docker",
        "info",
        stdout=json.dumps({"ServerVersion": "26.1", "MemTotal": gib * GIB, "DockerRootDir": "/"}),
    )
    findings = examination.examine(checkout.compose(), FakeHost())
    assert [each.level for each in findings if each.check == "memory"] == [level]


def test_a_source_tree_that_does_not_exist_is_named(checkout: Checkout) -> None:
    checkout.with_env(WEPPPY_SRC="/no/such/tree")
    assert only(errors(checkout)).what == "WEPPPY_SRC=/no/such/tree does not exist"


def test_a_folder_that_is_no_wepppy_checkout_is_told(checkout: Checkout, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    checkout.with_env(WEPPPY_SRC=str(wrong))
    assert "is no wepppy checkout: it has no folder wepppy" in only(errors(checkout)).what


def test_base_images_that_are_missing_and_cannot_be_built_are_a_warning(checkout: Checkout) -> None:
    checkout.images_are()
    assert errors(checkout, FakeHost(commands=())) == []
    assert any("mmdebstrap" in what for what in warnings(checkout, FakeHost(commands=())))
    assert warnings(checkout) == []


def test_settings_that_are_open_misspelt_missing_or_ambiguous_are_warnings(checkout: Checkout) -> None:
    path = checkout.with_env(mode=0o644, PORT_STATSU="1", TITLE="a$b")
    path.write_text(path.read_text().replace("PORT_STATUS=9002\n", ""))
    text = "\n".join(warnings(checkout))
    assert "mode 0644" in text
    assert "PORT_STATSU" in text
    assert "lacks keys that are new in .env.example: PORT_STATUS" in text
    assert "TITLE is read differently" in text
    assert errors(checkout) == []


def test_a_key_that_nothing_reads_is_a_warning_and_one_that_a_compose_file_reads_is_none(
    checkout: Checkout,
) -> None:
    (checkout.root / "docker" / "docker-compose.base.yml").write_text("pids: ${STATUS_PIDS:-512}\n")
    checkout.with_env(STATUS_PIDS="300", STATUS_PIDZ="300", COMPOSE_PATH_SEPARATOR=":")
    (told,) = (each for each in warnings(checkout) if "knows" in each)
    assert told.partition(" (")[0].endswith("neither .env.example nor a compose file knows: STATUS_PIDZ")


def test_an_unknown_profile_is_an_error(checkout: Checkout) -> None:
    checkout.with_env(COMPOSE_PROFILES="geo,gee")
    assert "there is no profile gee" in [each.what for each in errors(checkout)]


def test_a_folder_of_secrets_that_is_open_to_others_is_a_warning(checkout: Checkout) -> None:
    (checkout.root / ".docker-data" / "secrets").chmod(0o755)
    assert "secrets is open to others (mode 0755)" in warnings(checkout)[0]


@pytest.mark.parametrize(
    ("key", "value", "what", "fix"),
    [
        ("SECRET_KEY", "of-an-older-stack", "secrets are files now", "invoke env-init"),
        ("POSTGRES_PASSWORD", "a-very-secret-word", "secrets are files now", "invoke env-init"),
        ("POSTGRES_PASSWORD", "edited-in-env", "another value than the file", "invoke db-rotate-password"),
        (
            "VAPID_PRIVATE_KEY",
            "edited-in-env",
            "another value than the file",
            "write its value into the file",
        ),
    ],
)
def test_a_secret_in_env_is_told_with_the_place_that_counts_and_no_value(
    checkout: Checkout, key: str, value: str, what: str, fix: str
) -> None:
    env_editing.set_keys(checkout.with_env(), {key: value})
    checkout.with_secrets(admin_password="in-the-file")
    (told,) = (each for each in examination.examine(checkout.compose(), FakeHost()) if key in each.what)
    assert told.level is Level.WARNING
    assert what in told.what
    assert fix in told.fix
    assert value not in told.what + told.fix
    assert errors(checkout) == []


def test_a_remote_engine_is_not_judged_by_this_machine(checkout: Checkout) -> None:
    checkout.environment["DOCKER_HOST"] = "ssh://far.example"
    assert errors(checkout, FakeHost(taken={9002: errno.EADDRINUSE})) == []


def test_the_json_answer_is_one_document(checkout: Checkout) -> None:
    screen = Screen(as_json=True)
    examination.show(screen.console, examination.examine(checkout.compose(), FakeHost(free=0)))
    answer = json.loads(screen.out.getvalue())
    assert answer["ok"] is False
    assert {"check", "level", "what", "fix"} == set(answer["findings"][0])


def test_all_errors_are_in_the_details_of_the_first(checkout: Checkout) -> None:
    screen = Screen()
    findings = [Finding("a", "first", "x"), Finding("b", "second", "y")]
    with pytest.raises(StackError, match="first") as caught:
        examination.require(screen.console, findings)
    assert "second" in caught.value.details


def test_listeners_are_read_from_the_kernels_tables(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    header = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    )
    listening = "   0: 0100007F:232A 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n"
    connected = "   1: 0100007F:232A 00000000:0000 01 0:0 0:0 0 0 0 4712 1\n"
    (tmp_path / "net" / "tcp").write_text(header + listening + connected)
    assert host.listening_inodes(0x232A, tmp_path) == {"socket:[4711]"}


def test_exported_variables_that_stand_over_the_settings_file_are_told_with_what_they_change(
    checkout: Checkout,
) -> None:
    (checkout.root / "docker/docker-compose.base.yml").write_text(
        "x: ${STATUS_MEMORY:-1g} ${PORT_CADDY:-8080} ${OTHER_SITE_KEY}\n"
    )
    checkout.environment |= {
        "COMPOSE_PROJECT_NAME": "other",
        "PORT_CADDY": "8080",
        "STATUS_MEMORY": "2g",
        "ADMIN_TOKEN": "word-of-some-other-program",
        "VAPID_PRIVATE_KEY": "word-of-some-other-program",
        "OTHER_SITE_KEY": "word-of-some-other-program",
        "UNRELATED": "x",
    }
    name = envfile.display_path(checkout.root / ".env")
    told = [each.replace(name, ".env") for each in warnings(checkout) if "exported" in each]
    assert told == [
        "COMPOSE_PROJECT_NAME=other is exported and stands over COMPOSE_PROJECT_NAME=wepppy in .env: "
        "this is another stack, with containers, volumes and data of its own",
        "OTHER_SITE_KEY is exported and stands over .env, which has another value: containers that this shell starts "
        "get it",
        "STATUS_MEMORY=2g is exported and stands over STATUS_MEMORY= in .env: containers that this shell starts get it",
    ]
