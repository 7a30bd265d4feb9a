"""`seed` on the host: two commands, their JSON lines, the question before anything is removed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.engine.runner import Result
from scripts.stack.seed import Options, seed
from tests.unit.fakes import Checkout, Screen, container

FILLED = {
    "roles": 0,
    "accounts": 6,
    "runs": 12,
    "folders": 12,
    "checklists": 12,
    "started": 2,
    "runs_kept": 0,
}
NOTHING = dict.fromkeys(FILLED, 0)


def lines(*documents: Mapping[str, object] | str) -> str:
    return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in documents)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.with_env()
    model = json.loads(made.compose().capture("config", "--format", "json").stdout)
    model["services"] |= {"weppcloud": {"image": "web"}, "sample-data": {"image": "web"}}
    made.runner.on("config", "json", stdout=json.dumps(model))
    made.containers_are([container("weppcloud")])
    answers(made, {"seed": 7, "files": 51, "made": 0}, FILLED)
    return made


def answers(checkout: Checkout, geodata: Mapping[str, object], site: Mapping[str, object]) -> None:
    progress: dict[str, object] = {"step": "runs", "state": "12 of 12"}
    checkout.runner.on("sample-data", "run", stdout=lines("a remark of Compose", {"answer": geodata}))
    checkout.runner.on("weppcloud", "exec", stdout=lines(progress, {"answer": site}))
    checkout.runner.calls.clear()


def commands(checkout: Checkout) -> list[list[str]]:
    return [argv for argv in checkout.runner.commands() if "run" in argv or "exec" in argv]


def test_geodata_is_made_before_the_site_and_the_site_takes_its_seed(checkout: Checkout) -> None:
    screen = Screen()
    seed(checkout.compose(), screen.console, Options(scale=12))
    geodata, site = commands(checkout)
    assert geodata[-4:] == ["python", "-m", "wepppy.sample_data", "--json-lines"]
    assert site[-4:] == ["flask", "seed", "--seed=7", "--scale=12"]
    assert "runs: 12 of 12" in screen.err.getvalue()
    assert ["accounts", "6"] in [line.split() for line in screen.out.getvalue().splitlines()]


def test_a_second_call_says_that_nothing_was_changed(checkout: Checkout) -> None:
    answers(checkout, {"seed": 7, "files": 51, "made": 0}, NOTHING | {"runs_kept": 12})
    screen = Screen()
    seed(checkout.compose(), screen.console, Options())
    assert "nothing was changed" in screen.err.getvalue()


def test_the_json_answer_holds_both_answers_and_nothing_else(checkout: Checkout) -> None:
    screen = Screen(as_json=True)
    seed(checkout.compose(), screen.console, Options())
    answer = json.loads(screen.out.getvalue())
    assert (answer["ok"], answer["project"], answer["site"], answer["geodata"]["seed"]) == (
        True,
        "wepppy",
        FILLED,
        7,
    )


def test_a_real_tree_is_refused_before_anything_runs(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "real/wepppy").mkdir(parents=True)
    checkout.with_env(WEPPPY_SRC=str(tmp_path / "real"))
    with pytest.raises(StackError, match="has no sample data") as caught:
        seed(checkout.compose(), Screen().console, Options())
    assert caught.value.exit_code == 4
    assert commands(checkout) == []


def test_a_stack_that_does_not_run_is_not_seeded(checkout: Checkout) -> None:
    checkout.containers_are([])
    with pytest.raises(StackError, match="does not run") as caught:
        seed(checkout.compose(), Screen().console, Options())
    assert caught.value.exit_code == 3


def test_what_the_sample_refuses_is_refused_here_and_the_site_is_left_alone(checkout: Checkout) -> None:
    def refuse(argv: Sequence[str]) -> Result:
        return Result(tuple(argv), 4, lines({"refused": "/geodata holds the landscape of seed 7"}))

    checkout.runner.do("sample-data", "run", action=refuse)
    with pytest.raises(StackError, match="landscape of seed 7; nothing was changed") as caught:
        seed(checkout.compose(), Screen().console, Options(seed=8))
    assert caught.value.exit_code == 4
    assert len(commands(checkout)) == 1


@pytest.mark.parametrize("output", ["Traceback\nMemoryError", ""])
def test_a_failure_shows_what_the_sample_printed(checkout: Checkout, output: str) -> None:
    checkout.runner.do("weppcloud", "exec", action=lambda argv: Result(tuple(argv), 1, output))
    with pytest.raises(StackError, match="could not make the runs") as caught:
        seed(checkout.compose(), Screen().console, Options())
    assert (caught.value.exit_code, caught.value.details) == (5, output)


def test_an_end_without_an_answer_is_a_failure_too(checkout: Checkout) -> None:
    checkout.runner.on("weppcloud", "exec", stdout="nothing that is JSON")
    with pytest.raises(StackError, match="could not make the runs"):
        seed(checkout.compose(), Screen().console, Options())


def removable(checkout: Checkout) -> None:
    removed = {"runs": 12, "accounts": 6, "accounts_kept": 0}
    answers(checkout, {"seed": 8, "replaces": 7}, FILLED | {"removed": removed})


@pytest.mark.parametrize("yes", ["", "wepp", "yes"])
def test_without_the_projects_name_a_reset_only_looks(checkout: Checkout, yes: str) -> None:
    removable(checkout)
    screen = Screen()
    with pytest.raises(StackError) as caught:
        seed(checkout.compose(), screen.console, Options(seed=8, reset=True, yes=yes))
    assert caught.value.exit_code == 4
    assert "seed --reset --seed=8 --yes=wepppy" in caught.value.fix
    assert all("--dry-run" in argv for argv in commands(checkout))
    assert "12 seeded runs" in screen.err.getvalue()
    assert "the landscape of seed 7" in screen.err.getvalue()


def test_with_the_name_it_removes_and_makes_anew(checkout: Checkout) -> None:
    removable(checkout)
    seed(checkout.compose(), Screen().console, Options(seed=8, reset=True, yes="wepppy"))
    geodata, site = commands(checkout)[-2:]
    assert "--replace" in geodata
    assert "--reset" in site
    assert "--dry-run" not in [*geodata, *site]


def test_a_reset_of_nothing_asks_nothing(checkout: Checkout) -> None:
    answers(checkout, {"seed": 7, "files": 51, "made": 0}, FILLED | {"removed": {"runs": 0, "accounts": 0}})
    seed(checkout.compose(), Screen().console, Options(reset=True))
    assert "--dry-run" not in commands(checkout)[-1]


def test_a_dry_run_asks_nothing_and_changes_nothing(checkout: Checkout) -> None:
    removable(checkout)
    seed(checkout.compose(), Screen().console, Options(reset=True, dry_run=True))
    assert len(commands(checkout)) == 2
    assert all("--dry-run" in argv for argv in commands(checkout))


@pytest.mark.parametrize("options", [Options(yes="wepppy"), Options(seed=-2), Options(scale=10**9)])
def test_flags_that_make_no_sense_are_usage_errors(checkout: Checkout, options: Options) -> None:
    with pytest.raises(StackError) as caught:
        seed(checkout.compose(), Screen().console, options)
    assert caught.value.exit_code == 2
    assert commands(checkout) == []
