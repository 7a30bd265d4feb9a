"""The note of what is under way: private, whole or not there, and read back as it was written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import journal
from scripts.errors import StackError
from scripts.journal import Entry, Kept, Move, Rotation
from tests.unit.fakes import Checkout


def entry(rotation: Rotation | None = None) -> Entry:
    running = (Kept("id-web", "wepppy-web-1", "web"),)
    return Entry("db-restore", 7, 5.0, running, ("id-web",), rotation)


def test_a_note_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    made = Checkout(tmp_path)
    made.with_env()
    written = entry(rotation=Rotation("wepppy", "old-word", "new-word"))
    journal.write(made.compose(), written)
    assert journal.read(made.compose()) == written


def test_a_move_is_noted_with_the_way_to_its_source(tmp_path: Path) -> None:
    made = Checkout(tmp_path)
    made.with_env()
    move = Move("localhost", 5433, "old", "roger", "/home/roger/pw.txt", "", live=True, before=7)
    written = replace(entry(), move=move)
    journal.write(made.compose(), written)
    assert journal.read(made.compose()) == written


def test_a_note_of_before_moves_were_noted_is_read(tmp_path: Path) -> None:
    made = Checkout(tmp_path)
    made.with_env()
    journal.write(made.compose(), entry())
    path = journal.path_of(made.compose())
    document = json.loads(path.read_text())
    del document["move"]
    path.write_text(json.dumps(document))
    assert journal.read(made.compose()) == entry()


def test_a_note_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    made = Checkout(tmp_path)
    made.with_env()
    journal.write(made.compose(), entry())
    assert journal.path_of(made.compose()).stat().st_mode & 0o777 == 0o600


def test_without_a_note_nothing_is_under_way(tmp_path: Path) -> None:
    made = Checkout(tmp_path)
    made.with_env()
    assert journal.read(made.compose()) is None
    journal.write(made.compose(), entry())
    journal.remove(made.compose())
    assert journal.read(made.compose()) is None
    journal.remove(made.compose())


def test_two_projects_of_one_folder_have_notes_of_their_own(tmp_path: Path) -> None:
    made = Checkout(tmp_path)
    made.with_env()
    journal.write(made.compose(), entry())
    made.environment["COMPOSE_PROJECT_NAME"] = "second"
    assert journal.read(made.compose()) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"format": 99})])
def test_a_note_that_says_nothing_is_a_problem_with_a_mend(tmp_path: Path, text: str) -> None:
    made = Checkout(tmp_path)
    made.with_env()
    path = journal.path_of(made.compose())
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(StackError) as caught:
        journal.read(made.compose())
    assert str(path) in caught.value.mend


def test_passwords_are_not_in_the_representation_of_a_rotation() -> None:
    shown = repr(entry(rotation=Rotation("wepppy", "old-word", "new-word")))
    assert "word" not in shown
