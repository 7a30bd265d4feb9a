"""Benchmarks are found by their folder and name, and a figure knows whether its goal is met."""

from __future__ import annotations

import json

import pytest

from tests.bench.__main__ import find
from tests.bench.figures import Figure, report


def test_benchmarks_are_found_by_group_and_by_name_each_once() -> None:
    every = find([])
    assert {
        "database",
        "sample/elevationquery",
        "sample/wmesque2",
        "sample/status",
        "sample/preflight",
    } <= set(every)
    assert find(["sample/status"]) == ["sample/status"]
    assert find(["sample/status", "sample"]).count("sample/status") == 1
    assert set(find(["sample"])) == {name for name in every if name.startswith("sample/")}


def test_a_name_that_means_no_benchmark_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SystemExit, match=r"no benchmark databse; there are: .*sample/status"):
        find(["databse"])


def test_a_missed_goal_is_told_to_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = Figure("speed", 1200, "1/s", at_least=1000), Figure("delay", 30, "ms", at_most=25)
    assert report("sample/x", [good, Figure("frames", 7, "")]) == 0
    assert report("sample/x", [good, bad]) == 1
    told = capsys.readouterr()
    entries = json.loads(told.out.splitlines()[1])["figures"]
    assert [(entry["name"], entry["met"]) for entry in entries] == [("speed", True), ("delay", False)]
    assert "MISSED" in told.err.splitlines()[-1]
    assert "1,200" in told.err


def test_people_read_three_decimals_and_programs_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    report("sample/x", [Figure("seconds", 8.510451605, "s"), Figure("frames", 12345.67, "")])
    told = capsys.readouterr()
    assert "8.510451605" in told.out
    assert "8.510 " in told.err
    assert "12,346" in told.err
