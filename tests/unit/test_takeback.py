"""What a move leaves that dies: who takes it back, with which way to the source, and what is said when nobody can."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import journal, recovery, takeback
from scripts.errors import StackError
from scripts.journal import Entry, Move
from tests.unit.fakes import FakeConversation, model, service
from tests.unit.memory_stack import MemoryStack
from tests.unit.test_migrate import ANSWER, PLAN, PREPARED, SECRET, SWAPPED, Scene
from tests.unit.test_restore import event

ROOT = Path(__file__).resolve().parents[2]
DONE = event("result", answer={"moved": False})


def way() -> FakeConversation:
    return FakeConversation([event("ready", prepared={})])


def gone() -> FakeConversation:
    return FakeConversation([event("problem", what="no server answers", mend="start it", exit=4)])


def ready(*prepared: object) -> list[str]:
    return [event("ready", prepared=each) for each in prepared]


def died(
    folder: Path, *lines: str, live: bool = True, then: tuple[FakeConversation, ...]
) -> tuple[Scene, str]:
    """A move whose program says the lines and no more; `then` are the conversations after it. Its error."""
    scene = Scene(folder, lines=list(lines))
    scene.made.runner.conversations += then
    with pytest.raises(StackError) as caught:
        scene.migrate(yes=True, live=live)
    assert scene.made.runner.conversations == []
    return scene, caught.value.what


def asked(scene: Scene) -> list[str]:
    """The command of the last program at the database."""
    argv = scene.made.runner.commands("converse")[-1]
    return argv[argv.index("--json") + 1 :]


def test_a_program_that_dies_is_followed_by_one_that_takes_back_over_a_new_way_to_the_source(
    tmp_path: Path,
) -> None:
    relay, program = way(), FakeConversation([DONE])
    scene, what = died(tmp_path, *ready(PLAN), then=(relay, program))
    assert "ended without an answer" in what
    assert relay.heard == [SECRET, "stop"]
    command = asked(scene)
    assert command[:2] == ["takeback", "--relay"]
    assert command[-4:] == ["--user", "roger", "--dbname", "old"]
    assert command[2].startswith("/relay/wepp-relay-")


# 0: the stack has no live database yet, and a swap may give it one.
@pytest.mark.parametrize("before", [7, 0])
def test_it_is_told_which_database_was_live_once_that_may_have_changed(tmp_path: Path, before: int) -> None:
    standing = FakeConversation([event("result", answer={"database": "wepppy", "id": before, "kept": ""})])
    said = ready(PLAN, {**PREPARED, "live_id": before})
    scene, _ = died(tmp_path, *said, then=(standing, way(), FakeConversation([DONE])))
    assert asked(scene)[:3] == ["takeback", "--before", str(before)]


def test_a_move_at_rest_wrote_nothing_to_its_source_so_no_way_to_it_is_needed(tmp_path: Path) -> None:
    scene, _ = died(tmp_path, *ready(PLAN), live=False, then=(FakeConversation([DONE]),))
    assert asked(scene) == ["takeback"]


def test_a_program_that_dies_before_it_was_told_to_begin_has_left_nothing(tmp_path: Path) -> None:
    died(tmp_path, event("note", text="looking at both servers"), then=())


def test_a_program_that_ends_by_itself_has_taken_back_what_it_began(tmp_path: Path) -> None:
    problem = event("problem", what="the schema was changed", mend="m", exit=5)
    _, what = died(tmp_path, *ready(PLAN), problem, then=())
    assert what == "the schema was changed"


@pytest.mark.parametrize("ends_well", [True, False])
def test_what_a_program_says_it_could_not_take_back_is_taken_back_after_it(
    tmp_path: Path, ends_well: bool
) -> None:
    left = event("left", text="wepp_move_1 stays behind on the source: no server answers")
    if ends_well:
        scene = Scene(tmp_path, lines=[*ready(PLAN, PREPARED, SWAPPED), left, event("result", answer=ANSWER)])
        scene.made.runner.conversations += [way(), FakeConversation([DONE])]
        scene.migrate(yes=True, live=True)
    else:
        problem = event("problem", what="no server answers", mend="m", exit=5)
        scene, _ = died(tmp_path, *ready(PLAN), left, problem, then=(way(), FakeConversation([DONE])))
    assert asked(scene)[0] == "takeback"
    assert "warning: wepp_move_1 stays behind" in scene.screen.err.getvalue()


def test_when_the_source_lets_nobody_in_any_more_it_is_told_what_may_be_left_and_how_to_remove_it(
    tmp_path: Path,
) -> None:
    scene, what = died(tmp_path, *ready(PLAN), then=(gone(), FakeConversation([DONE])))
    assert "ended without an answer" in what
    told = scene.screen.err.getvalue()
    assert "could not be taken back: no server answers" in told
    assert "old at localhost port 5432" in told
    assert "SELECT pg_drop_replication_slot(slot_name)" in told
    assert "read-only" not in told
    # What is on the stack's own side needs no source.
    assert asked(scene) == ["takeback"]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([event("result", answer={"moved": False})], "it may be read-only:"),
        (
            [event("problem", what="the server is away", mend="m", exit=3)],
            "leave it so if the moved database is",
        ),
        ([event("result", answer={"moved": True})], ""),
    ],
)
def test_a_source_that_may_be_closed_to_writers_is_told_of_with_the_statement_that_opens_it(
    tmp_path: Path, answers: list[str], words: str
) -> None:
    standing = FakeConversation([event("result", answer={"database": "wepppy", "id": 7, "kept": ""})])
    here = FakeConversation(answers)
    scene, _ = died(tmp_path, *ready(PLAN, PREPARED), then=(standing, gone(), here))
    told = scene.screen.err.getvalue()
    assert words in told
    statement = 'BEGIN READ WRITE; ALTER DATABASE "old" RESET default_transaction_read_only; COMMIT;'
    assert (statement in told) == bool(words)
    assert asked(scene) == ["takeback", "--before", "7"]


def test_the_statements_told_are_those_of_the_readme_and_of_the_backup_program() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    seal = (ROOT / "docker/backup/internal/source/seal.go").read_text()
    opening = re.search(r'return "(.*)" \+ postgres\.Quote\(seal\.source\.Database\) \+ "(.*)"', seal)
    assert opening
    assert f"`{takeback.BY_HAND};`" in readme
    assert '"{}"'.join(opening.groups()) == takeback.OPENING
    assert f"`{takeback.OPENING.format('wepppy')}`".replace('"', "") in readme


# ---- by another process, when the task died, too ----


class Remains:
    """A stack whose journal names a move; a source behind a password file."""

    def __init__(self, folder: Path, *, password: str = SECRET, **changes: object) -> None:
        self.stack = MemoryStack(folder)
        rendered = model(folder)
        rendered["volumes"] = {"postgres-tmp": {"name": "wepppy_postgres-tmp"}}
        rendered["services"]["postgres-backup"] = service("wepppy-backup:dev", build={})
        self.stack.made.runner.on("config", "json", stdout=json.dumps(rendered))
        file = folder / "password"
        if password:
            file.write_text(f"{password}\n")
            file.chmod(0o600)
        move = Move("127.0.0.1", 5433, "old", "roger", str(file), "", live=True, before=7)
        self.entry = Entry("bare-metal-migrate", 7, 0.0, move=replace(move, **changes))  # type: ignore[arg-type]
        journal.write(self.stack.compose, self.entry)

    def recover(self, *conversations: FakeConversation, seen: bool = True) -> str:
        """All that was said."""
        runner = self.stack.made.runner
        runner.conversations += conversations
        recovery.recover(
            self.stack.compose,
            self.stack.screen.console,
            clock=self.stack.clock,
            asking=self.stack.ask,
            seen=seen,
        )
        assert runner.conversations == []
        return self.stack.screen.err.getvalue()


def test_the_next_task_logs_in_with_the_password_that_the_named_file_holds_then(tmp_path: Path) -> None:
    left = Remains(tmp_path)
    assert SECRET not in journal.path_of(left.stack.compose).read_text()
    relay, program = way(), FakeConversation([DONE])
    left.recover(relay, program)
    assert relay.heard == [SECRET, "stop"]
    argv = left.stack.made.runner.commands("converse")[-1]
    assert argv[argv.index("takeback") :][:3] == ["takeback", "--before", "7"]
    assert journal.read(left.stack.compose) is None


def test_a_move_at_rest_is_taken_back_without_its_source(tmp_path: Path) -> None:
    left = Remains(tmp_path, live=False, password="")
    left.recover(FakeConversation([DONE]))
    assert journal.read(left.stack.compose) is None


def test_a_source_that_cannot_be_reached_bars_no_task_but_is_told_to_a_person(tmp_path: Path) -> None:
    left = Remains(tmp_path, password="")
    here = FakeConversation([DONE])
    assert left.recover(here, seen=False).count("SELECT pg_drop_replication_slot(slot_name)") == 1
    kept = journal.read(left.stack.compose)
    assert kept is not None
    assert kept.move == left.entry.move
    assert "old at 127.0.0.1 port 5433" in left.recover(FakeConversation([DONE]))
    assert journal.read(left.stack.compose) is None


def test_a_socket_folder_that_is_gone_is_not_made_by_the_engine(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    left = Remains(tmp_path, password="", password_file="", host="", socket_dir=str(folder))
    told = left.recover(FakeConversation([DONE]))
    assert f"there is no folder {folder}" in told
    (program,) = left.stack.made.runner.commands("converse")
    assert program[-3:] == ["takeback", "--before", "7"]
