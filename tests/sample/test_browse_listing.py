"""Directories: as JSON for programs, as pages for people."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from file_service import RUNID, SECRET, URL, call, make_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FILES = f"{URL}/files"
VISIBLE = {
    "PUBLIC", "by_outside", "inside", "inside_absolute", "inside_folder", "loop", "notes.txt", "nowhere",
    "outside_absolute", "outside_folder", "outside_relative", "ron.nodb", "to_hidden", "wepp",
}  # fmt: skip


@pytest.fixture
def run(data_env: Path) -> Path:
    return make_run(data_env)


def names(query: str = "", path: str = "") -> list[str]:
    answer = call(f"{FILES}{path}{query}")
    assert answer.status == 200, answer.text
    return [entry["name"] for entry in answer.json["entries"]]


def test_a_directory_is_listed_with_what_the_interface_promises(run: Path) -> None:
    os.utime(run / "notes.txt", (1_700_000_000, 1_700_000_000))
    reply = call(FILES).json
    assert {key: reply[key] for key in reply if key != "entries"} == {
        "runid": RUNID, "config": "sample", "path": "", "total": len(VISIBLE), "limit": 1000, "offset": 0,
        "has_more": False,
    }  # fmt: skip
    entries = {entry["name"]: entry for entry in reply["entries"]}
    assert set(entries) == VISIBLE
    assert entries["notes.txt"] == {
        "name": "notes.txt", "path": "notes.txt", "type": "file", "size_bytes": 17,
        "modified_iso": "2023-11-14T22:13:20+00:00", "download_url": f"{URL}/download/notes.txt",
    }  # fmt: skip
    assert (entries["wepp"]["type"], entries["wepp"]["child_count"]) == ("directory", 4)


def test_links_tell_their_target_only_if_it_is_inside(run: Path) -> None:
    entries: dict[str, Any] = {entry["name"]: entry for entry in call(FILES).json["entries"]}
    told = {
        name: (entry["symlink_is_dir"], entry["symlink_target"])
        for name, entry in entries.items()
        if entry["type"] == "symlink"
    }
    assert told == {
        "inside": (False, "wepp/output/loss.csv"),
        "inside_absolute": (False, "notes.txt"),
        "inside_folder": (True, "wepp"),
        "by_outside": (False, "notes.txt"),
        **dict.fromkeys(
            [
                "loop",
                "nowhere",
                "outside_absolute",
                "outside_folder",
                "outside_relative",
                "to_hidden",
            ],
            (False, None),
        ),
    }


def test_meta_adds_the_content_type_and_whether_there_is_a_preview(run: Path) -> None:
    entries = {entry["name"]: entry for entry in call(f"{FILES}?meta=true").json["entries"]}
    assert (entries["notes.txt"]["content_type"], entries["notes.txt"]["preview_available"]) == (
        "text/plain",
        True,
    )
    assert (entries["wepp"]["content_type"], entries["wepp"]["preview_available"]) == (
        "inode/directory",
        False,
    )
    assert "content_type" not in call(FILES).json["entries"][0]


def test_names_with_numbers_sort_by_the_number(run: Path) -> None:
    assert names("?pattern=H*", "/wepp") == ["H1.txt", "H2.txt", "H10.txt"]
    assert names("?pattern=H*&order=desc", "/wepp") == ["H10.txt", "H2.txt", "H1.txt"]
    assert names("?pattern=H*&sort=size&order=desc", "/wepp") == ["H10.txt", "H2.txt", "H1.txt"]


def test_dates_sort_too(run: Path) -> None:
    for name, when in (("H1.txt", 3), ("H2.txt", 1), ("H10.txt", 2)):
        os.utime(run / "wepp" / name, (when, when))
    assert names("?pattern=H*&sort=date", "/wepp") == ["H2.txt", "H10.txt", "H1.txt"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    limit=st.integers(1, 20),
    sort=st.sampled_from(["name", "date", "size"]),
    order=st.sampled_from(["asc", "desc"]),
)
def test_pages_put_together_are_the_whole_list(run: Path, limit: int, sort: str, order: str) -> None:
    whole = names(f"?sort={sort}&order={order}")
    pages: list[str] = []
    while True:
        reply = call(f"{FILES}?sort={sort}&order={order}&limit={limit}&offset={len(pages)}").json
        pages += [entry["name"] for entry in reply["entries"]]
        assert reply["has_more"] == (len(pages) < len(whole))
        if not reply["has_more"]:
            break
    assert pages == whole


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("limit=0", ["limit"]),
        ("limit=10001", ["limit"]),
        ("limit=ten", ["limit"]),
        ("limit=%C2%B2", ["limit"]),
        ("offset=-1", ["offset"]),
        ("limit=" + "9" * 5000, ["limit"]),
        ("sort=colour", ["sort"]),
        ("order=up", ["order"]),
        ("meta=perhaps", ["meta"]),
        ("pattern=a/b", ["pattern"]),
        ("pattern=" + "a" * 201, ["pattern"]),
        ("limit=0&offset=x&sort=y", ["limit", "offset", "sort"]),
    ],
)
def test_every_wrong_parameter_is_named(run: Path, query: str, parameters: list[str]) -> None:
    answer = call(f"{FILES}?{query}")
    assert (answer.status, answer.json["error"]["code"]) == (400, "validation_error")
    assert [error["path"] for error in answer.json["errors"]] == parameters


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(["limit", "offset", "sort", "order", "meta", "pattern", "as_csv"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
        | st.sampled_from(["1", "png", "[", "*", "[!a-", "**[a-z]", "name", "asc"]),
    ),
    st.sampled_from(["files", "files/wepp", "browse/", "browse/notes.txt", "download/notes.txt"]),
)
def test_any_parameters_get_a_proper_answer(run: Path, parameters: dict[str, str], path: str) -> None:
    from urllib.parse import urlencode

    assert call(f"{URL}/{path}?{urlencode(parameters)}").status in {200, 400}


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200), ("*/*", 200), ("text/html, application/*;q=0.1", 200), ("text/html", 406),
        ("application/json;q=0", 406), ("image/png, text/*", 406),
    ],
)  # fmt: skip
def test_a_list_that_is_not_wanted_as_json_is_not_acceptable(run: Path, accept: str, status: int) -> None:
    answer = call(FILES, {"accept": accept})
    assert answer.status == status
    if status == 406:
        assert answer.json["error"]["code"] == "not_acceptable"


def test_names_that_are_not_utf8_or_hold_control_characters_are_hidden(run: Path) -> None:
    for name in (b"caf\xe9.txt", b"line\nbreak.txt"):
        (run / "wepp" / os.fsdecode(name)).write_text(SECRET)
    assert names("", "/wepp") == ["H1.txt", "H2.txt", "H10.txt", "output"]
    for path in ("caf%E9.txt", "line%0Abreak.txt"):
        assert call(f"{URL}/download/wepp/{path}").status == 404


def test_a_directory_page_has_breadcrumbs_sort_links_and_sizes(run: Path) -> None:
    page = call(f"{URL}/browse/wepp/output/", {"accept": "text/html"})
    assert page.status == 200
    assert f'<a href="{URL}/browse/wepp/">wepp</a>' in page.text
    assert '<span aria-current="page">output</span>' in page.text
    assert f'href="{URL}/browse/wepp/output/loss.csv"' in page.text
    assert f'href="{URL}/download/wepp/output/loss.csv"' in page.text
    assert 'href="?sort=size&amp;order=desc&amp;pattern="' in page.text
    assert "30 Bytes" in page.text
    assert 'name="viewport"' in page.text


def test_pages_load_nothing_from_elsewhere_and_run_no_script(run: Path) -> None:
    for path in ("", "wepp/output/loss.csv", "notes.txt", "ron.nodb"):
        page = call(f"{URL}/browse/{path}")
        assert "<script" not in page.text
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page.text)
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_names_and_contents_are_never_taken_for_html(run: Path) -> None:
    (run / "<b>bold<b> & 'quoted'.txt").write_text("<img src=x onerror=alert(1)>")
    (run / "bad.csv").write_text("<script>,b\n<i>,&\n")
    assert "<b>" not in call(f"{URL}/browse/").text
    assert "&lt;b&gt;bold" in call(f"{URL}/browse/").text
    assert "<img src=x" not in call(f"{URL}/browse/%3Cb%3Ebold%3Cb%3E%20&%20'quoted'.txt").text
    assert "<script>" not in call(f"{URL}/browse/bad.csv").text
    assert '<script>"' not in call(f"{URL}/browse/?pattern=%22%3E%3Cscript%3E").text


def test_a_missing_directory_is_a_page_for_people_and_text_for_programs(run: Path) -> None:
    for accept, kind in (("text/html", "text/html"), ("*/*", "text/plain")):
        answer = call(f"{URL}/browse/no/such/", {"accept": accept})
        assert answer.status == 404
        assert answer.headers["content-type"].startswith(kind)


def test_a_long_directory_is_shown_in_pages(run: Path) -> None:
    (run / "many").mkdir()
    for index in range(1100):
        (run / "many" / f"{index}.txt").touch()
    first = call(f"{URL}/browse/many/").text
    assert "1 to 1000 of 1100" in first
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following
    second = call(f"{URL}/browse/many/" + following.group(1).replace("&amp;", "&")).text
    assert "1001 to 1100 of 1100" in second


def test_aria2c_gets_every_open_file_once_and_nothing_else(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_ADDRESS", "wepp.example.com, wepp.example.org")
    (run / "wepp" / "line\nbreak.txt").touch()  # would end the line
    answer = call(f"{URL}/aria2c.spec", {"host": "wepp.example.org:8443"})
    assert answer.status == 200
    lines = answer.text.splitlines()
    listed = dict(zip((line.removeprefix("  out=") for line in lines[1::2]), lines[::2], strict=True))
    assert set(listed) == {
        "PUBLIC", "notes.txt", "ron.nodb", "wepp/H1.txt", "wepp/H2.txt", "wepp/H10.txt", "wepp/output/loss.csv"
    }  # fmt: skip
    assert listed["wepp/H1.txt"] == f"http://wepp.example.org:8443{URL}/download/wepp/H1.txt"
    for foreign in (
        "evil\r\n.org",
        "evil.example",
        "wepp.example.org.evil.example",
        "wepp.example.org:8443@evil",
    ):
        assert call(f"{URL}/aria2c.spec", {"host": foreign}).status == 400
    assert call(f"{URL}/aria2c.spec", {"host": "localhost:8080"}).status == 200


def test_health_is_ok_on_an_empty_volume_and_tells_when_it_is_gone(
    data_env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("/health", "/browse/health"):
        assert (call(path).status, call(path).body) == (200, b"OK")
    monkeypatch.setenv("WC1_DIR", str(data_env / "gone"))
    answer = call("/health")
    assert (answer.status, answer.text) == (503, "the runs volume is missing")


def test_no_secret_of_the_run_is_on_any_page(run: Path) -> None:
    for path in ("browse/", "files", "aria2c.spec"):
        text = call(f"{URL}/{path}").text
        assert SECRET not in text
        assert ".hidden" not in text
        assert "_logs" not in text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{URL}/browse/none", 404),
        (f"{URL}/download/none", 404),
        (f"{URL}/gdalinfo/notes.txt", 400),
        ("/weppcloud/batch/spring/browse/", 404),
        (f"{URL}/nothing", 404),
    ],
)
def test_browsers_get_errors_as_a_page_and_programs_as_text(run: Path, path: str, status: int) -> None:
    for accept, kind in (("text/html,*/*;q=0.8", "text/html"), ("*/*", "text/plain")):
        answer = call(path, {"accept": accept})
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (status, kind)
        assert "<script" not in answer.text
