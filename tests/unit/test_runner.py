"""Programs are run from argument lists, told so that they can be pasted, and stopped with care."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.engine.runner import NOT_FOUND, TIMED_OUT, Result, Runner, pasteable


def wait_until(condition: Callable[[], bool]) -> None:
    """Fail when the condition does not come true within a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_status_and_input_are_passed_through(tmp_path: Path) -> None:
    code = "import sys; print(sys.stdin.read().upper()); print('oh', file=sys.stderr); sys.exit(3)"
    result = Runner(tmp_path).capture(python(code), stdin="word")
    assert (result.stdout, result.stderr, result.returncode) == ("WORD\n", "oh\n", 3)
    assert result.complaint == "oh"


def test_arguments_are_never_read_by_a_shell(tmp_path: Path) -> None:
    result = Runner(tmp_path).capture([*python("import sys; print(sys.argv[1])"), "a; echo INJECTED $HOME"])
    assert result.stdout == "a; echo INJECTED $HOME\n"


def test_programs_run_in_the_root_whatever_the_current_folder(tmp_path: Path) -> None:
    assert Runner(tmp_path).capture(python("import os; print(os.getcwd())")).stdout.strip() == str(tmp_path)


def test_a_missing_program_and_a_slow_one_are_answers_not_tracebacks(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    assert runner.capture(["no-such-program"]).returncode == NOT_FOUND
    slow = runner.capture(python("import time; time.sleep(60)"), timeout=0.2)
    assert slow.returncode == TIMED_OUT
    assert "did not answer" in slow.complaint


def test_what_is_echoed_can_be_pasted_with_the_variables_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAME", "1")
    line = pasteable(["docker", "a b", "$x"], {"SAME": "1", "OTHER": "two words"})
    assert shlex.split(line) == ["env", "OTHER=two words", "docker", "a b", "$x"]


def test_changes_are_echoed_and_questions_only_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    echoed = io.StringIO()
    Runner(tmp_path, echo_to=echoed).capture(["true"])
    assert echoed.getvalue() == ""
    Runner(tmp_path, echo_to=echoed).stream(["true"])
    Runner(tmp_path, echo_to=echoed, verbose=True).capture(["false"])
    assert echoed.getvalue() == "$ true\n$ false\n"


def test_what_is_echoed_works_from_the_folder_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "the checkout"
    below = root / "docker"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    echoed = io.StringIO()
    Runner(root, echo_to=echoed).stream(["touch", "docker/made"])
    (below / "made").unlink()
    subprocess.run(["sh", "-c", echoed.getvalue().removeprefix("$ ")], cwd=below, check=True)
    assert (below / "made").exists()


def test_a_dry_run_tells_changes_and_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    echoed = io.StringIO()
    runner = Runner(tmp_path, dry=True, echo_to=echoed)
    assert runner.stream(["touch", "made"]).ok
    assert runner.attach(["touch", "made"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert echoed.getvalue() == "would run touch made\n" * 2


def test_streamed_lines_arrive_one_by_one(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; print('one', flush=True); print('two', file=sys.stderr)"
    result = Runner(tmp_path, echo_to=io.StringIO()).stream(python(code), on_line=lines.append)
    assert lines == ["one", "two"]
    assert result.stdout == "one\ntwo"


def test_ctrl_c_lets_the_child_tidy_up_before_it_is_raised(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "try:\n  print('ready', flush=True)\n  time.sleep(60)\n"
        "except KeyboardInterrupt:\n  pathlib.Path('tidy').touch()\n"
    )

    def interrupt(line: str) -> None:
        assert line == "ready"
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        Runner(tmp_path, echo_to=io.StringIO()).stream(python(code), on_line=interrupt)
    assert (tmp_path / "tidy").exists()


# Writes a file once its input has ended, as a program does that notices that its caller is gone.
NOTICES = (
    "import pathlib, sys, signal\n"
    "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "print('ready', flush=True)\nsys.stdin.read()\npathlib.Path('noticed').touch()\n"
)


def test_ctrl_c_ends_the_input_of_an_attended_program_and_waits_for_it(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        assert line == "ready"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Runner(tmp_path, echo_to=io.StringIO()).stream(python(NOTICES), on_line=interrupt, attended=True)
    assert (tmp_path / "noticed").exists()


def test_an_attended_program_notices_a_caller_that_was_killed(tmp_path: Path) -> None:
    caller = (
        "import os, pathlib, signal, sys\nfrom scripts.engine.runner import Runner\n"
        f"Runner(pathlib.Path({str(tmp_path)!r})).stream(\n"
        f"    {python(NOTICES)!r}, attended=True, on_line=lambda _: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(python(caller), cwd=root, stderr=subprocess.DEVNULL, check=False)
    assert done.returncode == -signal.SIGKILL
    wait_until((tmp_path / "noticed").exists)


def test_an_attended_program_that_ends_by_itself_is_not_waited_for(tmp_path: Path) -> None:
    result = Runner(tmp_path, echo_to=io.StringIO()).stream(
        python("import sys; print('done'); sys.exit(3)"), on_line=lambda _: None, attended=True
    )
    assert (result.returncode, result.stdout) == (3, "done")


def test_silence_is_told_as_an_exit_status() -> None:
    assert Result(("x",), 7).complaint == "exit status 7"
