"""The examination names what is wrong, who is to blame and what to do; only errors stop the stack."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from scripts import doctor, envfile, host
from scripts.doctor import Finding, Level
from scripts.errors import StackError
from tests.unit.fakes import GIB, Checkout, FakeHost, Screen, container, model


def errors(checkout: Checkout, machine: FakeHost | None = None) -> list[Finding]:
    return doctor.errors_of(doctor.examine(checkout.compose(), machine or FakeHost()))


def warnings(checkout: Checkout, machine: FakeHost | None = None) -> list[str]:
    findings = doctor.examine(checkout.compose(), machine or FakeHost())
    return [each.what for each in findings if each.level is Level.WARNING]


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    assert findings[0].mend, "every error needs a mend"
    return findings[0]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.with_env()
    return made


def test_a_good_machine_has_no_findings_but_good_ones(checkout: Checkout) -> None:
    findings = doctor.examine(checkout.compose(), FakeHost())
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
    ("stderr", "what", "mend"),
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
    checkout: Checkout, stderr: str, what: str, mend: str
) -> None:
    checkout.runner.on("docker", "info", stdout='{"ServerVersion":""}', stderr=stderr, returncode=1)
    finding = only(errors(checkout))
    assert what in finding.what
    assert mend in finding.mend


def test_an_engine_error_inside_a_good_answer_is_found_too(checkout: Checkout) -> None:
    """Older clients answer with status 0 and say in the document that they reached nobody."""
    answer = {"ServerErrors": ["Cannot connect to the Docker daemon. Is the docker daemon running?"]}
    checkout.runner.on("docker", "info", stdout=json.dumps(answer))
    assert "not running" in only(errors(checkout)).what


def test_docker_itself_may_be_missing(checkout: Checkout) -> None:
    for words in (["info"], ["compose"], ["buildx"]):
        checkout.runner.on("docker", *words, stderr="docker is not installed", returncode=127)
    found = errors(checkout)
    assert "docker is not installed" in [each.what for each in found]
    assert all("scripts/setup" in each.mend or each.check == "compose files" for each in found)


@pytest.mark.parametrize("version", ["1.29.2", "v2.23.3", "nonsense"])
def test_an_old_compose_is_an_error(checkout: Checkout, version: str) -> None:
    checkout.runner.on("docker", "compose", "version", stdout=version)
    assert "older than 2.24" in only(errors(checkout)).what


def test_missing_buildx_is_an_error(checkout: Checkout) -> None:
    checkout.runner.on("docker", "buildx", returncode=1)
    assert "buildx is missing" in only(errors(checkout)).what


def test_a_port_taken_by_a_process_is_told_with_its_name(checkout: Checkout) -> None:
    finding = only(errors(checkout, FakeHost(taken={9002: errno.EADDRINUSE})))
    assert finding.what == "port 9002 of status is taken by nginx (process 12)"
    assert "PORT_STATUS" in finding.mend


def test_a_port_taken_by_another_stack_is_told_with_its_container(checkout: Checkout) -> None:
    checkout.runner.on(
        "docker", "ps", '{{.Names}}\t{{.Label "com.docker.compose.project"}}\t{{.Ports}}',
        stdout="other-status-1\tother\t127.0.0.1:9002->9002/tcp\n",
    )  # fmt: skip
    finding = only(errors(checkout, FakeHost(taken={9002: errno.EADDRINUSE})))
    assert "container other-status-1 of project other" in finding.what


def test_our_own_containers_may_hold_their_ports(checkout: Checkout) -> None:
    checkout.runner.on(
        "docker", "ps", '{{.Names}}\t{{.Label "com.docker.compose.project"}}\t{{.Ports}}',
        stdout="wepppy-status-1\twepppy\t127.0.0.1:9002->9002/tcp, :::9002->9002/tcp\n",
    )  # fmt: skip
    assert errors(checkout, FakeHost(taken={9002: errno.EADDRINUSE})) == []


def test_ports_of_services_that_are_off_do_not_matter(checkout: Checkout) -> None:
    changed = model(checkout.root)
    changed["services"]["metquery"]["ports"] = [{"published": "8004", "target": 8004}]
    checkout.runner.on("config", "json", stdout=json.dumps(changed))
    taken = FakeHost(taken={8004: errno.EADDRINUSE})
    assert "8004" in only(errors(checkout, taken)).what
    assert doctor.errors_of(doctor.examine(checkout.compose("core"), taken)) == []


def test_two_services_on_one_port_are_told(checkout: Checkout) -> None:
    changed = model(checkout.root)
    changed["services"]["status"]["ports"][0]["published"] = "8080"
    checkout.runner.on("config", "json", stdout=json.dumps(changed))
    assert "both want port 8080" in only(errors(checkout)).what


@pytest.mark.parametrize(
    ("free", "level"), [(GIB, Level.ERROR), (5 * GIB, Level.WARNING), (50 * GIB, Level.OK)]
)
def test_a_disk_that_is_nearly_full_stops_the_start(checkout: Checkout, free: int, level: Level) -> None:
    findings = doctor.examine(checkout.compose(), FakeHost(free=free))
    assert {each.level for each in findings if "disk" in each.check} == {level}


@pytest.mark.parametrize(("gib", "level"), [(1, Level.ERROR), (2, Level.WARNING), (4, Level.OK)])
def test_memory_is_weighed_against_the_profiles(checkout: Checkout, gib: int, level: Level) -> None:
    checkout.runner.on(
        "docker",
        "info",
        stdout=json.dumps({"ServerVersion": "26", "MemTotal": gib * GIB, "DockerRootDir": "/"}),
    )
    findings = doctor.examine(checkout.compose(), FakeHost())
    assert [each.level for each in findings if each.check == "memory"] == [level]


def test_a_source_tree_that_does_not_exist_is_named(checkout: Checkout) -> None:
    checkout.with_env(WEPPPY_SRC="/no/such/tree")
    assert only(errors(checkout)).what == "WEPPPY_SRC=/no/such/tree does not exist"


def test_a_wrong_source_tree_is_told_what_was_looked_for(checkout: Checkout, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    (wrong / "services" / "status2").mkdir(parents=True)
    (wrong / "requirements.txt").touch()
    checkout.with_env(WEPPPY_SRC=str(wrong))
    what = only(errors(checkout)).what
    assert "no wepppy/weppcloud/app.py" in what
    assert "no services/preflight2" in what
    assert "status2" not in what


def test_missing_requirements_are_mended_by_their_own_key(checkout: Checkout) -> None:
    checkout.with_env(WEPPPY_REQUIREMENTS="requirements-other.txt")
    assert "WEPPPY_REQUIREMENTS" in only(errors(checkout)).mend


def test_another_checkout_with_the_same_project_is_an_error(checkout: Checkout, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    checkout.containers_are([container("status", folder=str(other))])
    finding = only(errors(checkout))
    assert str(other) in finding.what
    assert "COMPOSE_PROJECT_NAME" in finding.mend


def test_our_own_containers_are_no_second_checkout(checkout: Checkout) -> None:
    checkout.containers_are([container("status", folder=str(checkout.root / "docker"))])
    assert errors(checkout) == []
    assert warnings(checkout) == []


def test_containers_of_a_checkout_that_was_moved_are_a_warning(checkout: Checkout) -> None:
    checkout.containers_are([container("status", folder="/gone/docker")])
    assert errors(checkout) == []
    assert any("is gone" in what for what in warnings(checkout))


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


def test_an_empty_secret_and_an_unknown_profile_are_errors(checkout: Checkout) -> None:
    checkout.with_env(POSTGRES_PASSWORD="", COMPOSE_PROFILES="geo,gee")
    what = [each.what for each in errors(checkout)]
    assert "POSTGRES_PASSWORD is empty in" in what[0]
    assert "there is no profile gee" in what


@pytest.mark.parametrize(
    ("key", "exported", "mend"),
    [
        ("POSTGRES_PASSWORD", "", "run `invoke env-init`"),
        ("BACKUP_HOOK_URL", "", "run `invoke compose-up`"),
        ("BACKUP_HOOK_URL", "docker/docker-compose.dev.yml", "give it a value there, or take"),
        ("KEY_OF_MINE", "", "give it a value"),
    ],
)
def test_the_mend_of_an_empty_secret_is_one_that_can_fill_it_or_do_without(
    checkout: Checkout, key: str, exported: str, mend: str
) -> None:
    envfile.set_keys(checkout.with_env(), {key: ""})
    if exported:
        checkout.environment["COMPOSE_FILE"] = exported
    changed = model(checkout.root)
    folder = checkout.root / ".docker-data" / "secrets"
    changed["secrets"][key.lower()] = {"file": str(folder / key.lower())}
    checkout.runner.on("config", "json", stdout=json.dumps(changed))
    finding = only(errors(checkout))
    assert finding.what.startswith(f"{key} is empty in")
    assert finding.mend.startswith(mend)


def test_fast_start_on_an_engine_that_refuses_it_is_an_error(checkout: Checkout) -> None:
    fast = "docker/docker-compose.fast-start.yml"
    (checkout.root / fast).touch()
    checkout.with_env(COMPOSE_FILE=f"docker/docker-compose.dev.yml:{fast}")
    assert "API 1.44" in only(errors(checkout)).what


def test_a_remote_engine_is_not_judged_by_this_machine(checkout: Checkout) -> None:
    checkout.environment["DOCKER_HOST"] = "ssh://far.example"
    assert errors(checkout, FakeHost(taken={9002: errno.EADDRINUSE})) == []


def test_the_json_answer_is_one_document(checkout: Checkout) -> None:
    screen = Screen(as_json=True)
    doctor.show(screen.console, doctor.examine(checkout.compose(), FakeHost(free=0)))
    answer = json.loads(screen.out.getvalue())
    assert answer["ok"] is False
    assert {"check", "level", "what", "mend"} == set(answer["findings"][0])


def test_all_errors_are_in_the_details_of_the_first(checkout: Checkout) -> None:
    screen = Screen()
    findings = [Finding("a", Level.ERROR, "first", "x"), Finding("b", Level.ERROR, "second", "y")]
    with pytest.raises(StackError, match="first") as caught:
        doctor.demand(screen.console, findings)
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
