"""Downloads: conditions and ranges as RFC 9110 has them, and every byte in its place."""

from __future__ import annotations

import email
import os
import re
from pathlib import Path
from typing import Any

import pytest
from file_service import RUNID, URL, Answer, call, make_run

DATA = bytes(range(256)) * 4096 + b"the end"


@pytest.fixture
def url(data_env: Path) -> str:
    run = make_run(data_env)
    (run / "data.bin").write_bytes(DATA)
    (run / "empty.bin").touch()
    (run / 'odd "name" \u00e9;.txt').write_text("odd")
    os.utime(run / "data.bin", (1_700_000_000, 1_700_000_000.5))
    return f"{URL}/download"


def parts_of(answer: Answer) -> list[tuple[int, int, int, bytes]]:
    """Return (first, last, size, bytes) of every part of a 206."""

    def place(text: str) -> tuple[int, int, int]:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text)
        assert match
        first, last, size = (int(number) for number in match.groups())
        return first, last, size

    if "content-range" in answer.headers:
        return [(*place(answer.headers["content-range"]), answer.body)]
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.body)
    assert message.is_multipart()
    found = []
    boundary = message.get_boundary()
    assert boundary
    for piece in answer.body.split(b"--" + boundary.encode())[1:-1]:
        fields, _, body = piece.partition(b"\r\n\r\n")
        match = re.search(rb"Content-Range: (.*)", fields)
        assert match
        found.append((*place(match.group(1).decode().strip()), body[:-2]))
    return found


def test_a_whole_file_comes_with_its_validators(url: str) -> None:
    answer = call(f"{url}/data.bin")
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert re.fullmatch(r'"[0-9a-f-]+"', answer.headers["etag"])
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_head_sends_the_same_head_and_no_body(url: str) -> None:
    whole, head = call(f"{url}/data.bin"), call(f"{url}/data.bin", method="HEAD")
    assert head.body == b""
    assert head.headers == whole.headers


def test_an_empty_file_is_sent_as_nothing(url: str) -> None:
    answer = call(f"{url}/empty.bin")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_of_a_file_that_grows_meanwhile_no_more_is_sent_than_was_promised(
    url: str, data_env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_env / "wc1" / "runs" / RUNID[:2] / RUNID / "rq.log"
    path.write_text("one line\n")
    genuine = os.open

    def grow_after_opening(*arguments: Any, **options: Any) -> int:
        descriptor = genuine(*arguments, **options)
        if str(arguments[0]).startswith("/proc/self/fd/"):
            with path.open("a") as log:
                log.write("another\n" * 20_000)
        return descriptor

    monkeypatch.setattr("wepppy.microservices.browse_tree.os.open", grow_after_opening)
    answer = call(f"{url}/rq.log")
    assert (answer.body, answer.headers["content-length"]) == (b"one line\n", "9")


def test_a_name_is_offered_for_saving_whatever_it_holds(url: str) -> None:
    answer = call(f"{url}/odd%20%22name%22%20%C3%A9%3B.txt")
    assert answer.status == 200
    assert answer.headers["content-disposition"].endswith("''odd%20%22name%22%20%C3%A9%3B.txt")


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=5-9", 5, 9),
        ("bytes=100-", 100, len(DATA) - 1),
        ("bytes=-7", len(DATA) - 7, len(DATA) - 1),
        ("bytes=-99999999999999999999999", 0, len(DATA) - 1),
        ("bytes=10-99999999999999999999999", 10, len(DATA) - 1),
        ("BYTES = 1-2", 1, 2),
        ("bytes=0-5,3-8", 0, 8),
    ],
)
def test_one_range_is_sent_as_that_part(url: str, header: str, first: int, last: int) -> None:
    answer = call(f"{url}/data.bin", {"range": header})
    assert answer.status == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert answer.body == DATA[first : last + 1]
    assert answer.headers["content-length"] == str(last - first + 1)


def test_several_ranges_are_sent_as_multipart(url: str) -> None:
    answer = call(f"{url}/data.bin", {"range": "bytes=-3, 0-1, 500-999"})
    assert answer.status == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert answer.headers["content-length"] == str(len(answer.body))
    size = len(DATA)
    assert parts_of(answer) == [
        (0, 1, size, DATA[:2]),
        (500, 999, size, DATA[500:1000]),
        (size - 3, size - 1, size, b"end"),
    ]


@pytest.mark.parametrize("header", ["bytes=9999999-", "bytes=-0", "bytes=1048583-1048590"])
def test_a_range_beyond_the_end_is_416_with_the_size(url: str, header: str) -> None:
    answer = call(f"{url}/data.bin", {"range": header})
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("header", ["bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "lines=1-2", "bytes"])
def test_a_range_that_means_nothing_is_a_bad_request(url: str, header: str) -> None:
    answer = call(f"{url}/data.bin", {"range": header})
    assert (answer.status, str(DATA) in answer.text) == (400, False)


def test_a_range_that_asks_for_too_much_is_ignored(url: str) -> None:
    answer = call(
        f"{url}/data.bin", {"range": "bytes=" + ",".join(f"{at * 2}-{at * 2}" for at in range(120))}
    )
    assert (answer.status, len(answer.body)) == (200, len(DATA))


def test_an_unchanged_file_is_not_sent_again(url: str) -> None:
    etag = call(f"{url}/data.bin").headers["etag"]
    for condition in (
        {"if-none-match": etag},
        {"if-none-match": f'"other", W/{etag}'},
        {"if-modified-since": "Tue, 14 Nov 2023 22:13:20 GMT"},
        {"if-none-match": etag, "if-modified-since": "Tue, 14 Nov 2000 22:13:20 GMT"},
        {"if-none-match": etag, "range": "bytes=0-1"},
    ):
        answer = call(f"{url}/data.bin", condition)
        assert (answer.status, answer.body) == (304, b""), condition
        assert answer.headers["etag"] == etag


def test_a_changed_file_is_sent_again(url: str, data_env: Path) -> None:
    before = call(f"{url}/data.bin").headers["etag"]
    path = data_env / "wc1" / "runs" / RUNID[:2] / RUNID / "data.bin"
    changed = DATA[:-1] + b"!"
    path.write_bytes(changed)  # of the same length
    for condition in (
        {"if-none-match": before},
        {"if-modified-since": "Tue, 14 Nov 2023 22:13:20 GMT"},
        {"if-none-match": '"other"', "if-modified-since": "Fri, 31 Dec 2060 22:13:20 GMT"},
        {"if-modified-since": "not a date"},
    ):
        answer = call(f"{url}/data.bin", condition)
        assert (answer.status, answer.body) == (200, changed), condition


def test_if_range_sends_the_part_only_of_the_very_same_file(url: str) -> None:
    etag = call(f"{url}/data.bin").headers["etag"]
    for value, status in (
        (etag, 206),
        ("Tue, 14 Nov 2023 22:13:20 GMT", 206),
        (f"W/{etag}", 200),
        ('"other"', 200),
        ("Tue, 14 Nov 2023 22:13:21 GMT", 200),
        ("nonsense", 200),
    ):
        answer = call(f"{url}/data.bin", {"range": "bytes=0-3", "if-range": value})
        assert (answer.status, len(answer.body)) == (status, 4 if status == 206 else len(DATA)), value
