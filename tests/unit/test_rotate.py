"""A new password is everywhere or nowhere, and nobody but the private files ever sees it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts import envfile, journal, recovery, scram
from scripts.compose import Compose
from scripts.console import Console
from scripts.errors import ExitCode, StackError
from scripts.quiesce import Keeper, kept_running
from scripts.rotate import Options, read_password, rotate
from scripts.runner import Result
from tests.unit.fakes import FakeConversation
from tests.unit.memory_stack import MemoryStack

OLD = "a-very-secret-word"
NEW = "quite-another-word"


class Rotating:
    """A stack in memory whose server keeps a verifier."""

    def __init__(self, folder: Path) -> None:
        self.stack = MemoryStack(folder)
        self.folder = folder
        self.password_file = folder / "new-password"
        self.password_file.write_text(f"{NEW}\n")
        self.secret = folder / "secrets" / "postgres_password"
        self.secret.parent.mkdir()
        self.secret.write_text(OLD)
        self.kept_by_server = scram.verifier(OLD, salt=b"salt")
        self.server_fails = 0
        self.logs_in: bool | None = None
        runner = self.stack.made.runner
        runner.do("docker", "exec", "psql", action=self._psql)
        runner.do(
            "docker", "exec", "cat", action=lambda argv: Result(tuple(argv), 0, self.secret.read_text())
        )
        self.say_login(own=True)

    def _psql(self, argv: Sequence[str]) -> Result:
        statement = self.stack.made.runner.calls[-1].stdin or ""
        self.stack.events.append("alter")
        if self.server_fails:
            self.server_fails -= 1
            return Result(tuple(argv), 3, "", "ERROR: out of disk")
        self.kept_by_server = statement.split("PASSWORD '")[1].split("'")[0]
        return Result(tuple(argv), 0)

    def say_login(self, *, own: bool, old: bool = False) -> None:
        answer = {"own": own, "why": "" if own else "refused", "given": [old]}
        self.stack.made.runner.conversations[:] = [
            FakeConversation(
                [
                    json.dumps({"kind": "ready", "prepared": "wepppy"}),
                    json.dumps({"kind": "result", "answer": answer}),
                ]
            )
        ]

    @contextmanager
    def keeping(self, compose: Compose, console: Console, task: str) -> Iterator[Keeper]:
        del console
        stack = self.stack
        with kept_running(
            compose, stack.screen.console, task, clock=stack.clock, asking=stack.ask, watcher=stack.watcher
        ) as keeper:
            yield keeper

    def rotate(self, **options: object) -> None:
        chosen = Options(**{"password_file": str(self.password_file), "yes": True, **options})  # type: ignore[arg-type]
        rotate(
            self.stack.compose,
            self.stack.screen.console,
            chosen,
            keeping=self.keeping,
            clock=self.stack.clock,
        )

    def holds(self, password: str) -> bool:
        """True when the password is in all three places."""
        salt = self.kept_by_server.split(":")[1].split("$")[0]
        return (
            envfile.read(self.folder / ".env").get("POSTGRES_PASSWORD") == password
            and self.secret.read_text() == password
            and scram.verifier(password, salt=base64.b64decode(salt)) == self.kept_by_server
        )


@pytest.fixture
def rotating(tmp_path: Path) -> Rotating:
    return Rotating(tmp_path)


def test_role_env_and_secret_change_while_those_who_log_in_are_stopped(rotating: Rotating) -> None:
    rotating.rotate()
    assert rotating.holds(NEW)
    assert rotating.stack.events == ["stop worker", "stop web", "alter", "start web", "start worker"]
    assert rotating.stack.all_back()


def test_without_a_file_a_random_password_is_made(rotating: Rotating) -> None:
    rotating.rotate(password_file="")
    made = envfile.read(rotating.folder / ".env").get("POSTGRES_PASSWORD")
    assert len(made) >= 43  # 256 bits in base64
    assert rotating.holds(made)


def test_nothing_else_in_env_changes_and_it_stays_private(rotating: Rotating) -> None:
    path = rotating.folder / ".env"
    before = path.read_text()
    rotating.rotate()
    assert path.read_text() == before.replace(OLD, NEW)
    assert path.stat().st_mode & 0o777 == 0o600


def test_neither_password_is_in_arguments_variables_or_what_is_printed(rotating: Rotating) -> None:
    rotating.rotate()
    seen = rotating.stack.screen.err.getvalue() + rotating.stack.screen.out.getvalue()
    for call in rotating.stack.made.runner.calls:
        seen += f"{call.argv}{call.env}{call.stdin}"
    assert OLD not in seen
    assert NEW not in seen


def test_the_server_is_asked_again_while_it_does_not_let_anybody_in(rotating: Rotating) -> None:
    answers = [2, 2]

    def starting(argv: Sequence[str]) -> Result:
        return Result(tuple(argv), answers.pop(), "", "starting up") if answers else rotating._psql(argv)

    rotating.stack.made.runner.do("docker", "exec", "psql", action=starting)
    rotating.rotate()
    assert rotating.holds(NEW)


def test_when_the_server_refuses_nothing_has_changed(rotating: Rotating) -> None:
    rotating.server_fails = 1
    with pytest.raises(StackError) as caught:
        rotating.rotate()
    assert caught.value.exit_code == ExitCode.FAILED
    assert rotating.holds(OLD)
    assert rotating.stack.all_back()


def test_a_client_that_dies_once_the_role_is_changed_has_it_changed_back_before_the_services_start(
    rotating: Rotating,
) -> None:
    answers = [137]

    def killed_at_the_end(argv: Sequence[str]) -> Result:
        done = rotating._psql(argv)
        return Result(tuple(argv), answers.pop(), "", "Killed") if answers else done

    rotating.stack.made.runner.do("docker", "exec", "psql", action=killed_at_the_end)
    with pytest.raises(StackError) as caught:
        rotating.rotate()
    assert "the old password holds again" in caught.value.what
    assert rotating.holds(OLD)
    assert rotating.stack.events == ["stop worker", "stop web", "alter", "alter", "start web", "start worker"]


def test_when_services_do_not_come_back_the_old_password_holds_again(rotating: Rotating) -> None:
    def ill_with_the_new_one(argv: Sequence[str]) -> Result:
        if rotating.secret.read_text() == NEW:
            return Result(tuple(argv), 1, "", "no login")
        return Result(tuple(argv), 0)

    rotating.stack.made.runner.do("docker", "exec", "am-i-well", action=ill_with_the_new_one)
    with pytest.raises(StackError) as caught:
        rotating.rotate()
    assert "worker is not healthy: no login; the old password holds again" in caught.value.what
    assert rotating.holds(OLD)
    assert rotating.stack.all_back()


def test_when_nobody_can_log_in_with_the_new_one_the_old_password_holds_again(rotating: Rotating) -> None:
    rotating.say_login(own=False)
    with pytest.raises(StackError) as caught:
        rotating.rotate()
    assert "no login with the new password: refused" in caught.value.what
    assert rotating.holds(OLD)
    assert rotating.stack.all_back()


def test_a_server_that_lets_the_old_password_in_as_well_is_warned_of(rotating: Rotating) -> None:
    rotating.say_login(own=True, old=True)
    rotating.rotate()
    assert "lets the old password in as well" in rotating.stack.screen.err.getvalue()


@pytest.mark.parametrize("change", ["nothing", "role", "role and env", "all"])
def test_a_task_killed_at_any_line_leaves_the_old_password_once_the_journal_is_finished(
    rotating: Rotating, change: str
) -> None:
    kept = tuple(journal.Kept(f"id-{name}", f"wepppy-{name}-1", name) for name in ("caddy", "web", "worker"))
    rotation = journal.Rotation("wepppy", OLD, NEW)
    journal.write(
        rotating.stack.compose, journal.Entry("db-rotate-password", 7, 0.0, kept, ("id-worker",), rotation)
    )
    if change != "nothing":
        rotating.kept_by_server = scram.verifier(NEW)
    if change in ("role and env", "all"):
        envfile.set_keys(rotating.folder / ".env", {"POSTGRES_PASSWORD": NEW})
    if change == "all":
        rotating.secret.write_text(NEW)
    stack = rotating.stack
    assert recovery.recover(stack.compose, stack.screen.console, clock=stack.clock, asking=stack.ask)
    assert rotating.holds(OLD)
    assert stack.all_back()
    assert stack.events.index("alter") < stack.events.index("start web")


def test_a_rotation_that_was_proven_is_not_taken_back(rotating: Rotating) -> None:
    rotation = journal.Rotation("wepppy", OLD, NEW, settled=True)
    stack = rotating.stack
    journal.write(stack.compose, journal.Entry("db-rotate-password", 7, 0.0, rotation=rotation))
    assert recovery.recover(stack.compose, stack.screen.console, clock=stack.clock, asking=stack.ask)
    assert "alter" not in stack.events


def test_what_cannot_be_taken_back_now_stays_in_the_journal(rotating: Rotating) -> None:
    rotating.server_fails = 2
    with pytest.raises(StackError):
        rotating.rotate()
    entry = journal.read(rotating.stack.compose)
    assert entry
    assert entry.rotation
    stack = rotating.stack
    assert recovery.recover(stack.compose, stack.screen.console, clock=stack.clock, asking=stack.ask)
    assert rotating.holds(OLD)


def test_an_external_server_is_asked_through_the_sidecar_with_a_verifier_only(rotating: Rotating) -> None:
    rotating.stack.made.with_env(POSTGRES_HOST="db.example.org")
    talk = FakeConversation(
        [
            json.dumps({"kind": "ready", "prepared": "wepppy"}),
            json.dumps({"kind": "result", "answer": "wepppy"}),
        ]
    )
    rotating.stack.made.runner.conversations.insert(0, talk)
    rotating.rotate()
    word = json.loads(talk.heard[0])
    assert word["passwords"] == [OLD]
    assert word["verifier"].startswith("SCRAM-SHA-256$4096:")
    assert NEW not in talk.heard[0]
    assert "alter" not in rotating.stack.events


def test_a_dry_run_and_a_missing_yes_change_nothing(rotating: Rotating) -> None:
    rotating.rotate(dry_run=True)
    with pytest.raises(StackError) as caught:
        rotating.rotate(yes=False)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert rotating.holds(OLD)
    assert rotating.stack.events == []


def test_the_password_that_holds_already_is_refused(rotating: Rotating) -> None:
    rotating.password_file.write_text(OLD)
    with pytest.raises(StackError) as caught:
        rotating.rotate()
    assert caught.value.exit_code == ExitCode.REFUSED


@pytest.mark.parametrize(
    "text",
    ["", "short", "two\nlines-of-text", "with'quote-inside", "with space inside", "dollar$dollar$dollar"],
)
def test_a_file_that_holds_no_password_for_every_reader_is_refused_without_showing_it(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(StackError) as caught:
        read_password(path)
    assert caught.value.exit_code == ExitCode.USAGE
    assert not text or text not in f"{caught.value.what}{caught.value.mend}"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError) as caught:
        read_password(tmp_path / "missing")
    assert "missing" in caught.value.what
