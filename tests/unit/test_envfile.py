"""One reading of `.env`, and a word where another reader would read otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.base.errors import StackError
from scripts.settings import env_editing, envfile


def problems(text: str) -> list[str]:
    return [f"{each.line}: {each.what}" for each in envfile.parse(text, Path(".env")).problems]


def test_a_missing_file_is_fixed_by_env_init(tmp_path: Path) -> None:
    with pytest.raises(StackError) as caught:
        envfile.read(tmp_path / ".env")
    assert "is missing" in caught.value.what
    assert "invoke env-init" in caught.value.fix
    assert caught.value.exit_code == 3


def test_an_empty_file_is_refused() -> None:
    env = envfile.parse("\n\n", Path(".env"))
    with pytest.raises(StackError, match="is empty"):
        envfile.refuse_fatal(env)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"KEY=\xff\xfe")
    with pytest.raises(StackError, match="not UTF-8"):
        envfile.read(tmp_path / ".env")


def test_malformed_lines_are_named_by_number_and_their_values_kept_to_themselves() -> None:
    told = problems("GOOD=1\n\n= hunter2\nBAD-KEY=hunter2\nNOTHING\nOPEN='hunter2\n")
    assert [each.split(":")[0] for each in told] == ["3", "4", "5", "6"]
    assert not any("hunter2" in each for each in told)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("A=pa$word", "`$` outside single quotes"),
        ('A="pa$word"', "`$` inside double quotes"),
        ('A="a\\nb"', "a backslash inside double quotes"),
        ("A='a\\b'", "a backslash inside single quotes"),
    ],
)
def test_values_with_two_readings_are_reported(line: str, reason: str) -> None:
    assert envfile.different_readings(line) == reason
    assert reason in problems(line + "\n")[0]


@pytest.mark.parametrize("line", ["A='pa$word'", "A=plain # costs $5", "A=a#b", 'A="two words"', "A="])
def test_values_with_one_reading_are_not_reported(line: str) -> None:
    assert envfile.different_readings(line) == ""


def test_a_key_that_is_there_twice_is_reported_and_the_last_one_counts() -> None:
    env = envfile.parse("A=1\nA=2\n", Path(".env"))
    assert env.values["A"] == "2"
    assert "twice" in env.problems[0].what
    assert not env.problems[0].fatal


def test_setting_a_key_keeps_comments_order_and_mode(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# first\nA=1 # why\n\n# second\nB=2")
    assert env_editing.set_keys(path, {"A": "3", "C": "two words"})
    assert path.read_text() == "# first\nA=3\n\n# second\nB=2\nC='two words'\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_root_leaves_the_file_to_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda descriptor, uid, gid: given.append((uid, gid)))
    env_editing.set_keys(path, {"A": "2"})
    assert given == [(path.stat().st_uid, path.stat().st_gid)]


def test_setting_a_key_to_its_value_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    before = path.stat().st_ino
    assert not env_editing.set_keys(path, {"A": "1"})
    assert path.stat().st_ino == before


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / ".env"
    real.write_text("A=1\n")
    link.symlink_to(real)
    env_editing.set_keys(link, {"A": "2"})
    assert link.is_symlink()
    assert real.read_text() == "A=2\n"


@pytest.mark.parametrize("value", ["it's", "back\\slash", "two\nlines"])
def test_a_value_that_no_two_readers_agree_on_is_refused(value: str) -> None:
    with pytest.raises(StackError) as caught:
        env_editing.formatted("A", value)
    assert caught.value.exit_code == 2


@settings(deadline=None)
@given(
    st.text(
        st.characters(codec="utf-8", exclude_characters="'\\\r\n\0", exclude_categories=["Cc", "Zl", "Zp"])
    )
)
def test_every_value_that_is_written_is_read_back_the_same(value: str) -> None:
    env = envfile.parse(env_editing.with_keys("# head\n", {"KEY": value}), Path(".env"))
    assert env.values == {"KEY": value}
    assert env.problems == ()


def test_a_key_is_removed_with_the_comment_right_above_it_and_nothing_else_changes() -> None:
    start, end = "# Title.\n\nA=1\n\n", "C=2 # about C\n\n# ---- part ----\n\n"
    text = f"{start}# About B.\n# generated: token\nB='x # y'\n{end}export B=3\nD=4\n"
    assert env_editing.with_keys(text, {"B": None}) == f"{start}{end}D=4\n"
    assert env_editing.with_keys(text, {"E": None}) == text
