"""The cause of a failure is found in a log whatever its tail."""

from __future__ import annotations

import pytest

from scripts.engine.failure import cause

GUNICORN = """\
[2026-11-29 14:00:00 +0000] [7] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/opt/venv/lib/python3.11/site-packages/gunicorn/arbiter.py", line 608, in spawn_worker
    worker.init_process()
  File "/workdir/wepppy/wepppy/weppcloud/app.py", line 12, in <module>
    import nosuchmodule
ModuleNotFoundError: No module named 'nosuchmodule'
[2026-11-29 14:00:00 +0000] [7] [INFO] Worker exiting (pid: 7)
[2026-11-29 14:00:01 +0000] [1] [ERROR] Worker (pid:7) exited with code 3
Traceback (most recent call last):
  File "/opt/venv/lib/python3.11/site-packages/gunicorn/arbiter.py", line 208, in run
    self.sleep()
  File "/opt/venv/lib/python3.11/site-packages/gunicorn/arbiter.py", line 242, in handle_chld
    self.reap_workers()
gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/opt/venv/bin/gunicorn", line 8, in <module>
    sys.exit(run())
SystemExit: 3
"""
GO = """\
{"time":"2026-11-29T14:00:00Z","level":"INFO","msg":"listening"}
panic: assignment to entry in nil map

goroutine 1 [running]:
example.org/status2/hub.(*Hub).add(...)
\t/src/hub/hub.go:41 +0x1d
runtime.main()
\t/usr/local/go/src/runtime/proc.go:272 +0x28b
exit status 2
"""


def test_a_workers_exception_comes_before_what_its_server_makes_of_it() -> None:
    assert cause(GUNICORN) == (
        "ModuleNotFoundError: No module named 'nosuchmodule' (/workdir/wepppy/wepppy/weppcloud/app.py, line 12)"
    )


def test_the_last_of_several_exceptions_is_told() -> None:
    later = 'Traceback (most recent call last):\n  File "/a.py", line 1, in f\n    x()\nValueError: later\n'
    assert cause(GUNICORN + later) == "ValueError: later (/a.py, line 1)"


def test_an_exception_of_a_library_alone_is_told_with_its_place_there() -> None:
    log = (
        'Traceback (most recent call last):\n  File "/opt/venv/lib/python3.11/site-packages/redis/c.py", line 5\n'
        "redis.exceptions.AuthenticationError: invalid username-password pair\n"
    )
    assert cause(log) == (
        "redis.exceptions.AuthenticationError: invalid username-password pair "
        "(/opt/venv/lib/python3.11/site-packages/redis/c.py, line 5)"
    )


def test_a_syntax_error_is_told_with_its_own_file() -> None:
    log = (
        'Traceback (most recent call last):\n  File "/opt/venv/bin/flask", line 3, in <module>\n    x\n'
        '  File "/workdir/wepppy/wepppy/rq/jobs.py", line 9\n    def (\n        ^\nSyntaxError: invalid syntax\n'
    )
    assert cause(log) == "SyntaxError: invalid syntax (/workdir/wepppy/wepppy/rq/jobs.py, line 9)"


def test_a_panic_is_told_and_not_what_stands_after_it() -> None:
    assert cause(GO) == "panic: assignment to entry in nil map"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (
            '{"level":"ERROR","msg":"redis is gone","error":"dial tcp: refused"}\n{"level":"INFO","msg":"bye"}\n',
            "redis is gone: dial tcp: refused",
        ),
        ("LOG:  starting\nFATAL:  data directory has wrong ownership\nLOG:  shut down\n",
         "FATAL:  data directory has wrong ownership"),
        ("ready\nBad file format reading the append only file\nbye\n", "Bad file format reading the append only file"),
        ("Error: adapting config: no such directive\nbye\n", "Error: adapting config: no such directive"),
        ("listening\nserving\n", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_without_an_exception_the_line_that_is_marked_as_fatal_is_told(log: str, told: str) -> None:
    assert cause(log) == told


def test_of_a_program_that_ended_the_last_line_is_told_where_none_is_marked() -> None:
    assert cause("status2: ALLOWED_ORIGINS: not an address\n", ended=True) == (
        "status2: ALLOWED_ORIGINS: not an address"
    )
    assert cause("", ended=True) == ""
