"""The menu: every flag explained, every problem two lines and an exit status, no traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

import tasks
from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError, report
from scripts.menu import database

ROOT = Path(tasks.__file__).parent
EXPECTED = {
    "compose-build", "compose-config", "compose-down", "compose-exec", "compose-logs", "compose-restart",
    "compose-shell", "compose-status", "compose-up", "db-shell", "db-upgrade", "doctor", "env-init", "images-base",
    "seed",
}  # fmt: skip


def test_every_task_is_on_the_menu_and_every_flag_has_help() -> None:
    assert set(tasks.namespace.tasks) >= EXPECTED
    for name, each in tasks.namespace.tasks.items():
        assert each.__doc__, name
        for argument in each.get_arguments():
            assert argument.help, f"{name} --{argument.name}"


def test_no_flag_has_a_short_form_that_means_another_one_elsewhere() -> None:
    meant: dict[str, set[str]] = {}
    for each in tasks.namespace.tasks.values():
        for argument in each.get_arguments():
            for short in (name for name in argument.names if len(name) == 1):
                meant.setdefault(short, set()).add(argument.name)
    assert {short: names for short, names in meant.items() if len(names) > 1} == {}


def run(body: object, *args: object, **flags: object) -> int:
    assert callable(body)
    with pytest.raises(SystemExit) as caught:
        body(Context(), *args, **flags)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_problem_is_two_lines_and_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StackError("it\nbroke", "fix it", ExitCode.REFUSED, details="the log")

    monkeypatch.setattr("scripts.stack.down.down", broken)
    assert run(tasks.compose_down) == 4
    assert capsys.readouterr().err == "the log\nerror: it broke\n  fix: fix it\n"


def test_what_a_task_says_to_do_repeats_the_flags_that_were_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unconfirmed(_: object, console: Console, *__: object, **___: object) -> None:
        console.require_yes(False, "drop 2 databases?", console.again("db-prune", "--yes"))

    monkeypatch.setattr("scripts.database.kept.prune", unconfirmed)
    assert run(database.db_prune, keep_days=0) == 4
    assert "to do it: invoke db-prune --keep-days=0 --yes\n" in capsys.readouterr().err


def test_an_interrupted_task_is_repeated_with_its_flags(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.stack.down.down", interrupted)
    assert run(tasks.compose_down, volumes=True, timeout=5) == 130
    assert "run `invoke compose-down --volumes --timeout=5` again" in capsys.readouterr().err


def test_no_message_spells_out_a_command_to_confirm_without_the_flags_that_were_given() -> None:
    spelled = re.compile(r"invoke [\w-]+[^`\n]*--yes")
    for path in [*(ROOT / "scripts/stack").glob("*.py"), *(ROOT / "scripts/database").glob("*.py")]:
        assert not spelled.search(path.read_text()), path


def test_a_problem_of_a_json_task_is_a_json_document_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StackError("it broke", "fix it", ExitCode.FAILED)

    monkeypatch.setattr("scripts.stack.up.Up.run", broken)
    assert run(tasks.compose_up, [], [], json=True) == 5
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "ok": False,
        "error": {"what": "it broke", "fix": "fix it", "exit_code": 5},
    }
    assert printed.err.startswith("error: it broke")


def test_ctrl_c_is_a_sentence_and_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.stack.up.Up.run", interrupted)
    assert run(tasks.compose_up, [], []) == 130
    said = capsys.readouterr().err
    assert "stopped by Ctrl-C: compose-up did not finish; containers that were started go on running" in said
    assert "fix: run `invoke compose-up` again" in said


def test_a_reader_that_has_had_enough_ends_the_task_with_status_141() -> None:
    code = (
        "from scripts.menu.task import task\n"
        "def broken(context: object) -> None: raise BrokenPipeError\n"
        "task(interrupted='')(broken)(None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 141


def test_what_is_not_well_is_told_and_ends_with_status_3(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("scripts.stack.status.show", "scripts.database.backup.show"):
        monkeypatch.setattr(module, lambda *_: False)
    for task in (tasks.compose_status, database.db_backups):
        with pytest.raises(Exit) as caught:
            task(Context())
        assert caught.value.code == 3


def test_flags_that_contradict_each_other_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tasks.compose_up, [], [], build=True, no_build=True) == 2
    assert "contradict" in capsys.readouterr().err


def test_the_menu_works_from_any_folder_without_terminal_home_or_engine(tmp_path: Path) -> None:
    """As cron calls it: next to no environment, no standard input, another folder."""
    command = [sys.executable, "-m", "invoke", "-r", str(ROOT), "doctor", "--json"]
    environment = {"PATH": str(tmp_path), "WEPP_ENV_FILE": str(tmp_path / ".env")}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(done.stdout)
    found = {each["what"] for each in answer["findings"]}
    assert done.returncode == 3
    assert "docker is not installed" in found
    assert "Traceback" not in done.stderr


def test_a_task_that_is_added_by_the_recipe_works(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "tasks.py", tmp_path)
    recipe = (ROOT / "README.md").read_text().partition("### Add a task\n")[2].partition("\n### ")[0]
    for block in re.findall(r"^ *```python\n(.*?)^ *```", recipe, re.MULTILINE | re.DOTALL):
        head, _, body = dedent(block).partition("\n")
        with (tmp_path / head.strip("# ")).open("a") as file:
            file.write(body)
    (tmp_path / ".env").write_text("UID=1\n")
    invoke = [sys.executable, "-m", "invoke", "-r", str(tmp_path)]
    told = subprocess.run(
        [*invoke, "where", "--json"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert json.loads(told.stdout) == {"folder": str(tmp_path / ".docker-data")}
    listed = subprocess.run([*invoke, "--list"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert re.search(r"^ *where +Say in which folder", listed.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("module", "heavy"),
    [("tasks", ["rich", "dotenv", "http.client"]), ("scripts.stack.up", ["cryptography"])],
)
def test_what_few_need_is_loaded_where_it_is_needed_alone(module: str, heavy: list[str]) -> None:
    """The list must come at once, and so must a `compose-up` that has nothing to do."""
    code = f"import sys, {module}; print([each for each in {heavy} if each in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout.strip() == "[]"


def test_an_error_is_reported_without_line_breaks_inside() -> None:
    import io

    stream = io.StringIO()
    assert report(StackError("a\n  b", "c\nd", ExitCode.USAGE), stream) == 2
    assert stream.getvalue() == "error: a b\n  fix: c d\n"
