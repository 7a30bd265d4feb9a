"""Values of settings that cannot work are refused by name, before a file is written or anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from dotenv import dotenv_values

from scripts.base.errors import ExitCode, StackError
from scripts.prepare import env_init
from scripts.prepare.doctor import examination
from scripts.settings import setting_values
from tests.unit.fakes import Checkout, FakeHost

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("UID", "root"), ("GID", "users"), ("PORT_CADDY", "0.0.0.0:8080"), ("PORT_REDIS", "65536"), ("PORT_HTTP", "0"),
        ("POSTGRES_PORT", "five"), ("COMPOSE_PROJECT_NAME", "MyStack"), ("COMPOSE_PROJECT_NAME", "-x"),
        ("GEODATA_DIR", "geo"), ("WC1_DIR", "../runs"), ("SITE_PREFIX", "/weppcloud/"), ("SITE_PREFIX", "weppcloud"),
        ("WEPPCLOUD_WORKERS", "two"), ("RQ_WORKER_COUNT", "0"), ("REDIS_MEMORY", "lots"), ("SCRATCH_SIZE", "1 g"),
        ("RUN_LIMIT_PER_CLIENT", "10"), ("RUN_LIMIT_PER_ADDRESS", "60/minute,"),
        ("WEBSOCKET_LIMIT_PER_ADDRESS", "500/minute"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_refused_by_its_name(key: str, value: str) -> None:
    (problem,) = setting_values.problems({key: value, "TZ": "UTC"})
    assert problem.what == f"{key}={value} cannot work"
    assert problem.fix.startswith(f"{key} is ")


def test_all_that_the_example_and_the_presets_say_can_work() -> None:
    for path in (ROOT / ".env.example", *(ROOT / "docker").glob("limits-*.env")):
        values = {key: value or "" for key, value in dotenv_values(path, interpolate=False).items()}
        assert list(setting_values.problems(values)) == []
        commented = [
            line[2:] for line in path.read_text().splitlines() if line.startswith("# ") and "=" in line
        ]
        written = dict(line.split("=", 1) for line in commented if line.partition("=")[0].isidentifier())
        assert list(setting_values.problems(written)) == []
    good = {
        "PORT_CADDY": "65535",
        "UID": "0",
        "SITE_PREFIX": "/a/b",
        "WC1_DIR": "/mnt/wc1",
        "BROWSE_MEMORY": "1.5g",
    }
    assert list(setting_values.problems(good)) == []


def test_env_init_writes_no_file_for_a_project_whose_name_cannot_work(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.environment["COMPOSE_PROJECT_NAME"] = "MyStack"
    with pytest.raises(StackError, match="COMPOSE_PROJECT_NAME=MyStack cannot work") as refused:
        env_init.initialise(checkout.compose())
    assert refused.value.exit_code == ExitCode.USAGE
    assert not (tmp_path / ".env").exists()


def test_env_init_and_doctor_tell_of_a_value_in_the_file_that_is_there(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env(PORT_STATUS="0.0.0.0:9002")
    checkout.with_secrets()
    with pytest.raises(StackError, match=r"PORT_STATUS=0\.0\.0\.0:9002 cannot work"):
        env_init.initialise(checkout.compose())
    found = examination.errors_of(examination.examine(checkout.compose(), FakeHost()))
    assert "PORT_STATUS=0.0.0.0:9002 cannot work" in [each.what for each in found]
