"""The sweep of kills itself: its moments cover a run evenly, and kills that hit nothing make it fail."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.database.conftest import KILLS
from tests.database.kills import AIMED_PART_OF_RUN, AIMS, VICTIMS, Kill, Measured, kills
from tests.database.sweep import complaint, shares

TIMES = [0.0, 1.0, 1.0, 4.0, 10.0]


def at(measured: Measured, kill: Kill) -> float:
    moment = measured.moment(kill)
    return measured.times[moment.lines] + moment.part * measured.gap(moment.lines)


def test_moments_fall_evenly_over_the_run_but_for_its_end_which_may_come_sooner_the_next_time() -> None:
    whole = Measured(TIMES)
    found = [at(whole, Kill("restore", "task", number, 10)) for number in range(10)]
    assert [int(each / AIMED_PART_OF_RUN) for each in found] == list(range(10))


def test_a_program_is_killed_while_one_runs_that_also_ran_in_the_measured_run() -> None:
    runs = [(2.0, 3.0), (3.5, 3.6), (7.0, 8.0), (8.5, 8.9), (9.0, 9.7)]
    measured = Measured(TIMES, {"client": runs})
    found = [measured.turn(Kill("restore", "client", number, 33)) for number in range(33)]
    # The line before, and how many runs since then are over: nobody depends on having seen all the earlier ones.
    assert {(each.lines, each.ended) for each in found} == {(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)}
    for each in found:
        short = (each.lines, each.ended) == (2, 1)
        assert (each.seconds == 0) == short
        assert each.seconds < 1.0
    assert sum((each.lines, each.ended) == (2, 0) for each in found) == 10


def test_a_full_sweep_has_a_hundred_kills_and_every_victim_is_killed_in_every_part() -> None:
    every = kills(KILLS)
    assert len(every) >= 100
    for operation, victims in VICTIMS.items():
        mine = [each for each in every if each.operation == operation]
        for victim in victims:
            halves = {each.number * 2 // each.count for each in mine if each.victim == victim}
            assert halves == {0, 1}, (operation, victim)


def test_a_tenth_meets_every_victim() -> None:
    tenth = kills({operation: max(1, round(count / 10)) for operation, count in KILLS.items()})
    met = {each.victim for each in tenth}
    assert met >= {"task", "client", "server", "container", "source", "program"}


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({("task", True): 9, ("client", True): 8, ("client", False): 1}, ""),
        ({("task", True): 90, ("client", True): 1, ("client", False): 1}, "kills of client"),
        ({("task", True): 9, ("client", False): 1}, "kills of client"),
        ({("task", True): 2, ("task", False): 1}, "a fifth"),
        ({("task", True): 4, ("task", False): 1}, ""),
    ],
)
def test_a_sweep_whose_kills_mostly_miss_fails(counts: dict[tuple[str, bool], int], words: str) -> None:
    found = complaint(Counter(counts))
    assert words in found
    assert bool(found) == bool(words)


def test_the_share_of_hits_is_told_for_each_victim() -> None:
    hits = Counter({("task", True): 2, ("client", True): 1, ("client", False): 1})
    assert shares(hits) == ["client: 1 of 2", "task: 2 of 2", "all: 3 of 4 kills hit something alive"]


def test_a_kill_that_missed_is_tried_again_nearer_to_the_beginning_and_never_after_the_last_client() -> None:
    runs = [(1.0, 3.0), (9.0, 9.1)]
    measured = Measured(TIMES, {"client": runs})
    found = [measured.turn(Kill("backup", "client", 9, 10, aim)) for aim in range(AIMS)]
    assert found[0].seconds == 0.0, "it was to be killed at its start"
    assert [each.lines for each in found] == [3, 2, 2]
    assert found[1].seconds > found[2].seconds > 0
