"""`runs-check` on the host: what it shows, what it asks before it reconciles, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.stack.runs_check import check
from tests.unit.fakes import Checkout, Screen, container

NOTHING = {"rows": 3, "folders": 3, "without_row": [], "without_folder": [], "only_in_redis": []}
ADOPTABLE = {"runid": "calm-fern-1", "name": "North fork", "created": "2026-11-30T01:02:03+00:00"}
BROKEN = {"runid": "calm-fern-2", "problem": "it has no ron.nodb"}
FOUND = NOTHING | {
    "without_row": [ADOPTABLE, BROKEN],
    "without_folder": ["deep-glen-3"],
    "only_in_redis": ["late-ford-4"],
}
FIXED = {"adopted": 1, "set_aside": 1, "rows_removed": 1, "hashes_removed": 1, "left": []}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.with_env()
    model = json.loads(made.compose().capture("config", "--format", "json").stdout)
    model["services"] |= {"weppcloud": {"image": "web"}}
    made.runner.on("config", "json", stdout=json.dumps(model))
    made.containers_are([container("weppcloud")])
    made.runner.on("exec", "runs-check", stdout=f"a remark\n{json.dumps({'answer': FOUND})}\n")
    made.runner.on(
        "exec", "runs-check", "--fix", stdout=json.dumps({"answer": FOUND | {"fixed": FIXED}}) + "\n"
    )
    made.runner.calls.clear()
    return made


def fixes(checkout: Checkout) -> list[list[str]]:
    return [argv[argv.index("runs-check") :] for argv in checkout.runner.commands() if "--fix" in argv]


def test_a_look_lists_them_changes_nothing_and_is_not_well(checkout: Checkout) -> None:
    screen = Screen()
    assert not check(checkout.compose(), screen.console)
    rows = {line.split()[0]: line for line in screen.out.getvalue().splitlines()}
    assert "North fork" in rows["calm-fern-1"]
    assert "no row: it has no ron.nodb" in rows["calm-fern-2"]
    assert "no files" in rows["deep-glen-3"]
    assert "in Redis alone" in rows["late-ford-4"]
    assert "invoke runs-check --fix" in screen.err.getvalue()
    assert fixes(checkout) == []


def test_stores_that_fit_together_are_well_and_nothing_is_asked(checkout: Checkout) -> None:
    checkout.runner.on("exec", "runs-check", stdout=json.dumps({"answer": NOTHING}))
    screen = Screen()
    assert check(checkout.compose(), screen.console, fix=True)
    assert "3 runs in the database, on disk and in Redis: all fit together" in screen.err.getvalue()
    assert fixes(checkout) == []


def test_the_json_answer_is_one_document(checkout: Checkout) -> None:
    screen = Screen(as_json=True)
    assert not check(checkout.compose(), screen.console)
    answer = json.loads(screen.out.getvalue())
    assert (answer["ok"], answer["without_folder"], answer["without_row"][0]["runid"]) == (
        False,
        ["deep-glen-3"],
        "calm-fern-1",
    )


@pytest.mark.parametrize(("aside", "command"), [(False, "--fix --yes"), (True, "--fix --aside --yes")])
def test_nothing_is_reconciled_before_somebody_says_yes(
    checkout: Checkout, aside: bool, command: str
) -> None:
    screen = Screen()
    with pytest.raises(StackError, match="nothing was changed") as caught:
        check(checkout.compose(), screen.console, fix=True, aside=aside)
    assert caught.value.exit_code == 4
    assert caught.value.fix.endswith(f"invoke runs-check {command}")
    assert f"{2 if aside else 1} on disk: their folders are moved" in screen.err.getvalue()
    assert fixes(checkout) == []


def test_with_a_yes_they_are_reconciled_and_what_was_done_is_told(checkout: Checkout) -> None:
    screen = Screen()
    assert check(checkout.compose(), screen.console, fix=True, yes=True)
    assert fixes(checkout) == [["runs-check", "--fix"]]
    assert "1 runs have a row again" in screen.err.getvalue()
    assert "1 folders are in /wc1/runs-set-aside" in screen.err.getvalue()


def test_what_changed_meanwhile_is_told_and_not_well(checkout: Checkout) -> None:
    changed = FOUND | {"fixed": FIXED | {"left": ["deep-glen-3"]}}
    checkout.runner.on("exec", "runs-check", "--fix", stdout=json.dumps({"answer": changed}) + "\n")
    screen = Screen()
    assert not check(checkout.compose(), screen.console, fix=True, yes=True)
    assert "left as they are: deep-glen-3" in screen.err.getvalue()


def test_a_dry_run_only_lists(checkout: Checkout) -> None:
    assert not check(checkout.compose(), Screen().console, fix=True, yes=True, dry_run=True)
    assert fixes(checkout) == []


def test_what_the_application_refuses_is_refused_here(checkout: Checkout) -> None:
    refused = json.dumps({"refused": "/wc1/runs holds no run at all"})
    checkout.runner.on("exec", "runs-check", "--fix", stdout=f"{refused}\n", returncode=4)
    with pytest.raises(StackError, match="no run at all; nothing was changed") as caught:
        check(checkout.compose(), Screen().console, fix=True, yes=True)
    assert caught.value.exit_code == 4


def test_an_application_that_fails_is_told_with_its_words(checkout: Checkout) -> None:
    checkout.runner.on("exec", "runs-check", stdout="Traceback\nboom\n", returncode=1)
    with pytest.raises(StackError, match="cannot say which runs it has") as caught:
        check(checkout.compose(), Screen().console)
    assert (caught.value.exit_code, caught.value.details) == (5, "Traceback\nboom")


def test_a_real_tree_is_refused_with_the_commands_to_compare_by_hand(
    checkout: Checkout, tmp_path: Path
) -> None:
    (tmp_path / "real/wepppy").mkdir(parents=True)
    checkout.with_env(WEPPPY_SRC=str(tmp_path / "real"))
    with pytest.raises(StackError, match="only it knows") as caught:
        check(checkout.compose(), Screen().console)
    assert caught.value.exit_code == 4
    assert "SELECT runid FROM run" in caught.value.fix
    assert checkout.runner.commands() == []


@pytest.mark.parametrize("flags", [{"aside": True}, {"yes": True}])
def test_flags_of_a_reconciliation_need_fix(checkout: Checkout, flags: dict[str, bool]) -> None:
    with pytest.raises(StackError) as caught:
        check(checkout.compose(), Screen().console, **flags)
    assert caught.value.exit_code == 2
