"""What a checkout needs of this machine (image, folders, rights), and how what is found is told."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from scripts.prepare.finding import Level
from scripts.prepare.source_check import checks
from scripts.prepare.source_check.report import source_check
from tests.unit.fakes import Screen
from tests.unit.small_tree import REQUIREMENTS, SmallTree, errors, only

OWNER = f"{os.getuid()}:{os.getgid()}"


@pytest.fixture
def small(tmp_path: Path) -> SmallTree:
    return SmallTree(tmp_path)


# ---- image ----


def test_an_image_that_is_not_here_is_told_with_three_ways_to_get_it(small: SmallTree) -> None:
    small.settings["WEPPPY_IMAGE"] = "wepppy:latest"
    lack = only(small.report())
    assert lack.what == "WEPPPY_IMAGE=wepppy:latest is not on this machine"
    assert f"docker build --file {small.tree}/docker/Dockerfile --tag wepppy:latest {small.tree}" in lack.fix
    assert "docker load" in lack.fix
    assert "weppcloud" in lack.services


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        (
            "exec: /opt/venv/bin/python: stat /opt/venv/bin/python: no such file or directory",
            "it has no /opt/venv",
        ),
        ({"tree": False}, "has no /workdir/wepppy"),
    ],
)
def test_an_image_that_cannot_run_the_services_is_told(
    small: SmallTree, facts: dict[str, object] | str, what: str
) -> None:
    small.settings["WEPPPY_IMAGE"] = "wepppy:latest"
    small.images["wepppy:latest"] = facts
    assert what in only(small.report()).what


def test_compiled_siblings_are_checked_against_the_images_interpreter(small: SmallTree) -> None:
    small.settings["WEPPPY_IMAGE"] = "wepppy:latest"
    small.images["wepppy:latest"] = {"interpreter": "3.13"}
    lack = only(small.report())
    assert lack.what.endswith(
        "wepppyo3/release/linux/py312 is compiled for Python 3.12, the image runs Python 3.13"
    )
    assert lack.services == ("weppcloud", "rq-worker", "kit-worker")
    assert "PYTHON_VERSION=3.12" in lack.fix


@pytest.mark.parametrize(
    ("image", "fix"), [("", "compose-up --build"), ("wepppy:latest", "build wepppy:latest again")]
)
def test_requirements_that_changed_since_the_build_are_told(small: SmallTree, image: str, fix: str) -> None:
    small.settings["WEPPPY_IMAGE"] = image
    built = {"requirements": hashlib.sha256(REQUIREMENTS.encode()).hexdigest()}
    small.images[image or "wepppy-python:dev"] = built
    assert not [lack for lack in small.report().lacks if "changed after" in lack.what]
    small.write(small.tree / "docker/requirements-uv.txt", f"{REQUIREMENTS}click==8.1.7\n")
    told = [lack for lack in small.report().lacks if "changed after" in lack.what]
    assert [lack.level for lack in told] == [Level.WARNING if image else Level.ERROR]
    assert fix in told[0].fix


def test_requirements_that_an_image_was_built_from_are_not_doubted(small: SmallTree) -> None:
    small.arguments["PYTHON_IMAGE"] = "python:3.12-slim-bookworm"
    small.images["wepppy-python:dev"] = {"requirements": hashlib.sha256(REQUIREMENTS.encode()).hexdigest()}
    assert errors(small.report()) == []


def test_an_image_is_looked_into_once(small: SmallTree) -> None:
    small.images["wepppy-python:dev"] = {}
    small.report()
    small.report()
    looks = [call for call in small.checkout.runner.commands("capture") if call[:2] == ["docker", "run"]]
    assert len(looks) == 1


# ---- folders, rights ----


def test_a_folder_for_runs_that_does_not_exist_is_told(small: SmallTree) -> None:
    small.folders["wc1"].rmdir()
    lack = only(small.report())
    assert lack.what == f"WC1_DIR={small.folders['wc1']} does not exist"
    assert lack.services == ("weppcloud",)


@pytest.mark.parametrize("name", ["wc1", "wc1/runs"])
def test_runs_that_belong_to_foreign_numeric_ids_are_told_with_the_ids_to_set(
    small: SmallTree, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As a share does that is mounted from another host."""
    folder = small.folders["wc1"].parent / name
    folder.mkdir(exist_ok=True)
    folder.chmod(0o2775)
    stat = Path.stat

    def foreign(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        result = stat(path, follow_symlinks=follow_symlinks)
        return os.stat_result([*result[:4], 61002, 61130, *result[6:]]) if path == folder else result

    monkeypatch.setattr(Path, "stat", foreign)
    lack = only(small.report())
    assert (
        f"the containers run as 4242:4242 and cannot write to {folder}, which belongs to 61002:61130"
        in lack.what
    )
    assert "no account of this machine" in lack.what
    assert "UID=61002 and GID=61130" in lack.fix
    # Members of the group may write.
    small.user = "4242:61130"
    assert errors(small.report()) == []


def test_geodata_need_not_be_writable(small: SmallTree) -> None:
    small.folders["geodata"].chmod(0o555)
    assert errors(small.report()) == []
    small.folders["geodata"].chmod(0o700)
    assert "cannot read" in only(small.report()).what


def test_one_shots_that_fill_the_samples_folders_stop_no_real_tree(small: SmallTree) -> None:
    model = small.model()
    geodata = {"type": "bind", "source": str(small.folders["geodata"]), "target": "/geodata"}
    model["services"]["sample-data"] = small.python(
        "python", "/opt/stack/sample-data.py", volumes=[geodata], labels={"wepp.role": "one-shot"}
    )
    small.model = lambda: model  # type: ignore[method-assign]
    small.folders["geodata"].chmod(0o555)
    assert errors(small.report()) == []
    (small.tree / "wepppy/sample_data").mkdir()
    assert only(small.report()).services == ("sample-data",)


@pytest.mark.parametrize("name", ["", "wepp_runner", "wepppy/nodb/base.py"])
def test_a_tree_that_was_cloned_for_its_owner_alone_is_told_where_it_is_mounted(
    small: SmallTree, name: str
) -> None:
    closed = small.tree / name
    closed.chmod(0o700 if closed.is_dir() else 0o600)
    mounted = small.python("gunicorn", "wepppy.weppcloud.app:app")["volumes"]
    model = small.model()
    model["services"]["weppcloud"]["volumes"] += mounted
    small.model = lambda: model  # type: ignore[method-assign]
    lack = only(small.report())
    assert f"{str(closed).rstrip('/')} belongs to {OWNER}" in lack.what
    assert "the containers run as 4242:4242 and cannot read it" in lack.what
    assert lack.fix.startswith(f"chmod -R go+rX {small.tree}")


def test_folders_of_an_engine_elsewhere_are_not_checked_here(small: SmallTree) -> None:
    small.folders["wc1"].rmdir()
    small.checkout.environment["DOCKER_HOST"] = "ssh://far.example"
    assert errors(small.report()) == []


def test_push_notifications_with_a_real_tree_are_told_to_be_off(small: SmallTree) -> None:
    model = small.model()
    model["services"]["webpush"] = small.python(
        "gunicorn", "wepppy.microservices.webpush:app", profiles=["sample-only"]
    )
    small.model = lambda: model  # type: ignore[method-assign]
    assert small.report("geo", "push").lacks == ()
    model["services"]["webpush"]["profiles"] = ["push"]
    lack = only(small.report("geo", "push"))
    assert "push notifications are the sample's own" in lack.what
    assert "COMPOSE_PROFILES" in lack.fix
    assert lack.services == ("webpush",)
    assert small.report("geo").lacks == ()


# ---- how it is told ----


def test_doctor_shows_each_finding_once_with_the_services_that_are_on(small: SmallTree) -> None:
    (small.tree / "wepppy/webservices/wmesque2.py").unlink()
    (small.tree / "wepp_runner/runner.py").unlink()
    small.report()
    found = [each for each in checks.findings(small.checkout.compose("core")) if each.level is Level.ERROR]
    assert [each.check for each in found] == ["imports"]
    assert found[0].what.startswith(
        "weppcloud, rq-worker: wepppy/nodb/__init__.py line 1 imports wepp_runner.runner"
    )


def test_the_answer_for_programs_has_every_service(small: SmallTree) -> None:
    (small.tree / "docker/rq-worker-startup.sh").unlink()
    small.report()
    screen = Screen(as_json=True)
    assert source_check(small.checkout.compose("geo"), screen.console) is False
    answer = json.loads(screen.out.getvalue())
    assert answer["ok"] is False
    assert answer["tree"] == str(small.tree)
    services = {each["name"]: each for each in answer["services"]}
    assert services["rq-worker"]["can_start"] is False
    assert {"what", "fix"} == services["rq-worker"]["lacks"][0].keys()
    assert services["caddy"] == {"name": "caddy", "active": True, "can_start": True, "lacks": []}
    assert any(each["services"] == ["rq-worker"] and each["level"] == "error" for each in answer["findings"])


def test_the_table_for_people_has_a_row_for_each_lack_and_a_sum(small: SmallTree) -> None:
    (small.tree / "wepp_runner/runner.py").unlink()
    (small.tree / "docker/scheduled-tasks.yml").unlink()
    small.report()
    screen = Screen()
    source_check(small.checkout.compose("core"), screen.console)
    rows = {line.split()[0]: line for line in screen.out.getvalue().splitlines()[1:]}
    assert rows["caddy"].split() == ["caddy", "ok"]
    assert "docker/scheduled-tasks.yml" in rows["scheduler"]
    assert "wepp_runner.runner" in rows["weppcloud"]
    assert rows["rq-worker"].endswith("(see above)")
    assert rows["wmesque2"].split() == ["wmesque2", "off"]
    assert "5 of 8 services that are switched on can start" in screen.err.getvalue()


def test_another_tree_can_be_named(small: SmallTree) -> None:
    small.report()
    small.settings["WEPPPY_SRC"] = ""
    small.checkout.with_env()
    screen = Screen(as_json=True)
    source_check(small.checkout.compose("core"), screen.console, str(small.tree))
    answer = json.loads(screen.out.getvalue())
    assert answer["tree"] == str(small.tree)
    assert not any("WEPPPY_REQUIREMENTS" in each["what"] for each in answer["findings"])


def test_a_tree_that_does_not_exist_stops_everything(small: SmallTree) -> None:
    small.settings["WEPPPY_SRC"] = "/no/such/tree"
    small.report()
    screen = Screen()
    assert source_check(small.checkout.compose("core"), screen.console) is False
    first = screen.out.getvalue().splitlines()[1]
    assert first.startswith("(all)")
    assert "WEPPPY_SRC=/no/such/tree does not exist" in first
