"""What holds for every test, wherever it runs."""

from __future__ import annotations

import signal

import pytest

# A shell's background job ignores SIGINT, and all its children would: tests of Ctrl-C waited for nothing then.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have measured, by name (record_property); of one name the last."""
    reports = [each for many in terminalreporter.stats.values() for each in many]
    measured = dict(pair for each in reports for pair in getattr(each, "user_properties", ()))
    for name, value in measured.items():
        terminalreporter.write_line(f"{name}: {value}")
