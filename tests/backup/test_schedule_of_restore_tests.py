"""When the schedule makes restore tests, and what health says where none could be made."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from wepp_backup.catalog import RESTORE_TEST, RESTORE_TEST_DUE, RestoreTest, RestoreTestDue

from tests.backup.scene import DAY, HOUR, MINUTE, NOON, Scene


def test_restore_tests_come_at_their_own_interval(scene: Scene) -> None:
    scene.set(restore_test_interval=timedelta(days=3))
    scene.run(HOUR)
    assert len(scene.tested) == 1
    scene.run(9 * DAY)
    assert len(scene.tested) == 4
    assert len(set(scene.tested)) == 4
    scene.wall -= timedelta(days=30)
    scene.run(HOUR)
    assert len(scene.tested) == 5


def test_a_restore_test_that_could_not_be_made_is_tried_again(scene: Scene) -> None:
    scene.set(restore_test_interval=timedelta(days=30))
    scene.untested = "another restore is under way"
    scene.run(HOUR)
    assert 3 <= len(scene.tested) <= 12
    scene.untested = ""
    scene.run(HOUR)
    tries = len(scene.tested)
    scene.run(DAY)
    assert len(scene.tested) == tries


def test_no_restore_test_without_an_interval(scene: Scene) -> None:
    scene.run(5 * DAY)
    assert scene.tested == []


def test_a_backup_of_an_empty_database_is_not_tested_and_one_with_tables_soon_is(scene: Scene) -> None:
    scene.set(restore_test_interval=timedelta(days=30))
    scene.is_empty = True
    scene.run(HOUR)
    assert scene.tested == []
    scene.is_empty = False
    scene.run(5 * MINUTE)
    assert len(scene.tested) == 1


def said(scene: Scene, *words: str, ok: bool) -> None:
    text, is_well = scene.health()
    assert is_well == ok, text
    for each in words:
        assert each in text


def test_restore_tests_that_cannot_be_made_turn_health_after_a_quarter_of_their_interval(
    scene: Scene,
) -> None:
    scene.set(restore_test_interval=timedelta(days=8))
    scene.untested = "another restore is under way"
    scene.run(2 * DAY - HOUR)
    said(scene, ok=True)
    scene.run(2 * HOUR)
    said(
        scene,
        "no test restore could be held for 2 d",
        "every 8 d",
        scene.untested,
        "the last verified",
        ok=False,
    )
    scene.untested = ""
    scene.run(HOUR)
    said(scene, ok=True)
    # The next one counts from its own day on, not from the first.
    scene.untested = "no room"
    scene.run(9 * DAY)
    said(scene, ok=True)
    scene.run(2 * DAY)
    said(scene, "no room", ok=False)
    # One by hand is as good.
    scene.catalog.write(RESTORE_TEST, RestoreTest(scene.wall, ok=True))
    said(scene, ok=True)


def test_a_restore_test_that_hangs_turns_health(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.set(restore_test_interval=timedelta(days=4))

    def hang(_: str) -> str:
        scene.pass_(DAY + MINUTE)
        scene.put(scene.wall)
        said(scene, "no test restore could be held for 1 d", "the first try has not ended", ok=False)
        return ""

    monkeypatch.setattr(scene, "test", hang)
    scene.run(MINUTE)


def test_a_quick_restore_test_is_not_taken_for_one_that_was_not_made(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.set(restore_test_interval=timedelta(days=4))
    scene.wall += timedelta(milliseconds=500)  # its end is recorded in whole seconds, so before its beginning

    def quick(_: str) -> str:
        scene.catalog.write(RESTORE_TEST, RestoreTest(scene.wall.replace(microsecond=0), ok=True))
        return ""

    monkeypatch.setattr(scene, "test", quick)
    scene.run(3 * DAY)
    said(scene, ok=True)


def test_restore_tests_that_are_switched_off_are_not_missed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = timedelta(days=4)
    scene.set(restore_test_interval=every)
    scene.untested = "no room"
    scene.run(2 * DAY)
    said(scene, ok=False)
    scene.set(restore_test_interval=timedelta())
    said(scene, ok=True)

    class Stopped(Exception):  # noqa: N818
        pass

    def stop(_: float) -> None:
        raise Stopped

    monkeypatch.setattr(scene.clock, "sleep", stop)
    with pytest.raises(Stopped):
        scene.schedule.run()
    scene.set(restore_test_interval=every)
    scene.run(HOUR)
    said(scene, ok=True)  # late from now on only


def test_a_note_of_the_programs_first_version_is_read(scene: Scene) -> None:
    began = {"since": "2026-03-29T03:00:00Z", "problem": "no room"}
    scene.catalog.path(RESTORE_TEST_DUE).write_text(json.dumps(began))
    found = scene.catalog.read(RESTORE_TEST_DUE, RestoreTestDue)
    assert found == RestoreTestDue(NOON - timedelta(hours=9), "no room")
