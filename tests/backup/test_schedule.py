"""When the schedule makes backups and which it prunes, by a clock that the test moves, and that somebody may set."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from wepp_backup.schedule import EMPTY_PAUSE, FIRST_RETRY, LONGEST_RETRY, LONGEST_SLEEP

from tests.backup.scene import DAY, HOUR, MINUTE, NOON, Scene

# ---- backups ----


def test_the_first_backup_is_made_at_once_and_then_one_per_interval(scene: Scene) -> None:
    scene.run(1)
    assert scene.made == [0]
    scene.run(3 * DAY)
    assert len(scene.made) == 4
    for number, at in enumerate(scene.made):
        assert number * DAY <= at <= number * DAY + LONGEST_SLEEP


def test_a_start_soon_after_a_backup_waits_for_the_rest_of_the_interval(scene: Scene) -> None:
    scene.put(NOON - timedelta(hours=23))
    scene.run(59 * MINUTE)
    assert scene.made == []
    scene.run(2 * MINUTE)
    assert len(scene.made) == 1


def test_a_backup_without_tables_is_followed_by_one_as_soon_as_there_are_some(scene: Scene) -> None:
    scene.is_empty = True
    scene.run(HOUR)
    assert len(scene.made) == 1
    scene.is_empty = False
    scene.run(EMPTY_PAUSE + 1)
    assert len(scene.made) == 2
    scene.run(23 * HOUR)
    assert len(scene.made) == 2
    scene.is_empty = True  # by somebody: what there was is in the earlier backup
    scene.run(HOUR)
    assert len(scene.made) == 3


def test_an_empty_database_is_backed_up_once_per_interval_too(scene: Scene) -> None:
    scene.is_empty = True
    scene.run(3 * DAY + HOUR)
    assert len(scene.made) == 4


def test_after_downtime_one_backup_is_made_and_not_one_for_each_that_was_missed(scene: Scene) -> None:
    scene.put(NOON - timedelta(days=30))
    scene.run(HOUR)
    assert len(scene.made) == 1


def test_a_backup_made_by_hand_moves_the_next_one(scene: Scene) -> None:
    scene.run(12 * HOUR)
    scene.put(scene.wall)
    scene.run(23 * HOUR)
    assert len(scene.made) == 1
    scene.run(2 * HOUR)
    assert len(scene.made) == 2


@pytest.mark.parametrize(
    ("by", "soon", "later"),  # backups within ten minutes of the setting, and two days later
    [
        (-1.0, 0, 2),
        (-HOUR, 1, 2),  # the last one is from the future now and says nothing, for an hour
        (-30 * DAY, 1, 3),
        (-3650 * DAY, 1, 3),
        (HOUR, 0, 2),
        (DAY, 1, 3),
        (30 * DAY, 1, 3),
        (3650 * DAY, 1, 3),
        (0.0, 0, 2),
    ],
)
def test_clocks_that_are_set_do_no_lasting_harm(scene: Scene, by: float, soon: int, later: int) -> None:
    scene.run(MINUTE)
    scene.made.clear()
    scene.wall += timedelta(seconds=by)
    scene.run(10 * MINUTE)
    assert len(scene.made) == soon
    scene.run(2 * DAY)
    assert len(scene.made) == later


def test_a_clock_that_runs_ahead_and_is_set_back_stops_no_backups(scene: Scene) -> None:
    scene.run(MINUTE)
    for days in (365, -365):
        scene.wall += timedelta(days=days)
        scene.run(MINUTE)
    scene.made.clear()
    scene.run(5 * DAY)
    assert len(scene.made) in (5, 6)


def test_a_failed_backup_is_tried_again_soon_and_less_and_less_often(scene: Scene) -> None:
    scene.fails = True
    scene.run(2 * HOUR)
    assert scene.made[1:3] == [FIRST_RETRY, 3 * FIRST_RETRY]
    assert scene.made[-1] - scene.made[-2] == LONGEST_RETRY
    tries = len(scene.made)
    scene.fails = False
    scene.run(LONGEST_RETRY)
    assert len(scene.made) == tries + 1
    scene.run(23 * HOUR)
    assert len(scene.made) == tries + 1


def test_a_short_interval_is_not_waited_out_by_retries(scene: Scene) -> None:
    scene.set(interval=timedelta(seconds=20))
    scene.fails = True
    scene.run(MINUTE)
    assert len(scene.made) >= 10


# ---- pruning ----


def test_old_backups_go_after_each_new_one_and_stay_while_backups_fail(scene: Scene) -> None:
    for days in range(1, 10):
        scene.put(NOON - timedelta(days=days))
    scene.fails = True
    scene.run(DAY)
    assert len(scene.ages()) == 9
    scene.fails = False
    scene.run(HOUR)
    assert len(scene.ages()) == 6
    assert scene.ages()[-1] == -5


def test_so_many_stay_however_old_they_are(scene: Scene) -> None:
    scene.set(keep_min=3)
    for days in (20, 21, 22):
        scene.put(NOON - timedelta(days=days))
    scene.run(MINUTE)
    assert scene.ages() == [0, -20, -21]


def test_after_a_collapse_nothing_goes_and_health_says_how_to_accept_it(scene: Scene) -> None:
    for days in (8, 9, 10, 11):
        scene.put(NOON - timedelta(days=days), rows=50000)
    scene.run(3 * DAY)
    assert scene.ages()[-4:] == [-8, -9, -10, -11]
    text, ok = scene.health()
    assert not ok
    assert "the database shrank from 50000 rows in 1 tables" in text
    assert "invoke db-backup --accept-collapse" in text
    assert "nothing is pruned" in scene.out.getvalue()


def test_nothing_goes_in_the_round_in_which_the_clock_was_set(scene: Scene) -> None:
    for days in range(1, 7):
        scene.put(NOON - timedelta(days=days))
    scene.schedule.round()
    scene.made.clear()
    scene.wall += timedelta(days=365)
    scene.run(HOUR)
    assert len(scene.made) == 1
    assert len(scene.ages()) == 8
    scene.run(DAY)  # the next round believes the clock
    assert len(scene.ages()) == 2


def test_a_dump_that_is_in_use_goes_the_next_time(scene: Scene) -> None:
    scene.put(NOON - timedelta(days=9))
    (entry,) = scene.catalog.entries()
    with scene.catalog.hold(Path(entry.path)):
        scene.run(MINUTE)
        assert scene.ages() == [0, -9]
    scene.run(DAY)
    assert scene.ages() == [1, 0]
