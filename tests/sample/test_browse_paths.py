"""No path leads out of a run."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_service import SECRET, URL, call, make_run
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with (
        tempfile.TemporaryDirectory(prefix="sample-browse-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        path = Path(folder)
        patch.setenv("WC1_DIR", str(path / "wc1"))
        patch.setenv("GEODATA_DIR", str(path / "geodata"))
        for name in ("WEPP_AUTH_JWT_SECRETS", "WEPP_AUTH_JWT_SECRETS_FILE"):
            patch.delenv(name, raising=False)
        make_run(path)
        yield path


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("../x", 400, "path_outside_root"),
        ("wepp/../notes.txt", 400, "path_outside_root"),
        ("%2e%2e/x", 400, "path_outside_root"),
        ("%2e%2e%2f%2e%2e%2foutside.txt", 400, "path_outside_root"),
        ("..%2f", 400, "path_outside_root"),
        ("/etc/passwd", 400, "path_outside_root"),
        ("%2fetc%2fpasswd", 400, "path_outside_root"),
        ("outside_relative", 400, "path_outside_root"),
        ("outside_absolute", 400, "path_outside_root"),
        ("outside_folder/file.txt", 400, "path_outside_root"),
        ("outside_folder/no such file", 400, "path_outside_root"),
        ("notes.txt%00", 404, "path_not_found"),
        ("x" * 5000, 404, "path_not_found"),
        ("x" * 300, 404, "path_not_found"),
        ("%252e%252e/x", 404, "path_not_found"),
        ("..\\x", 404, "path_not_found"),
        (".hidden", 404, "path_not_found"),
        ("to_hidden", 404, "path_not_found"),
        ("loop", 404, "path_not_found"),
        ("nowhere", 404, "path_not_found"),
        ("%ff%fe", 404, "path_not_found"),
        ("notes.txt/more", 404, "path_not_found"),
        ("_logs", 403, "forbidden_path"),
        ("_logs/access.log", 403, "forbidden_path"),
        ("exceptions.log", 403, "forbidden_path"),
        ("pipe", 403, "forbidden_path"),
        ("profile.events.jsonl", 403, "forbidden_path"),
        ("notes.txt", 400, "not_a_directory"),
    ],
)
def test_files_names_the_fault_of_a_path(root: Path, path: str, status: int, code: str) -> None:
    answer = call(f"{URL}/files/{path}")
    assert (answer.status, answer.json["error"]["code"]) == (status, code)
    assert str(root) not in answer.text


@pytest.mark.parametrize(
    ("runid", "status"),
    [
        ("no-such-run", 404),
        ("..", 404),
        (".", 404),
        ("%2e%2e%2fruns", 404),
        ("a%00b", 404),
        ("x" * 300, 404),
        ("%ff", 404),
    ],
)
def test_an_id_that_is_no_run_is_not_found(root: Path, runid: str, status: int) -> None:
    answer = call(f"/weppcloud/runs/{runid}/sample/files")
    assert answer.status == status
    assert str(root) not in answer.text


def test_a_directory_without_the_marker_is_no_run(root: Path) -> None:
    (root / "wc1" / "runs" / "un" / "unfinished").mkdir(parents=True, exist_ok=True)
    answer = call("/weppcloud/runs/unfinished/sample/files")
    assert (answer.status, answer.json["error"]["code"]) == (404, "run_not_found")


@pytest.mark.parametrize("path", ["inside", "inside_folder/output/loss.csv", "inside_absolute", "by_outside"])
def test_links_inside_the_run_are_followed(root: Path, path: str) -> None:
    answer = call(f"{URL}/download/{path}")
    assert answer.status == 200
    assert answer.body


def test_a_component_swapped_for_a_link_while_a_path_is_opened_leads_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = root / "wc1" / "runs" / "am" / URL.split("/")[3]
    genuine = os.open

    def swap_at(place: str) -> None:
        (run / "swapped").mkdir()
        (run / "swapped" / "file.txt").write_text("mine")

        def swap_then_open(path: str | Path, *rest: int) -> int:
            if str(path).startswith(place) and not (run / "swapped").is_symlink():
                (run / "swapped").rename(run / "before")
                (run / "swapped").symlink_to(root / "outside")
            return genuine(path, *rest)

        monkeypatch.setattr("wepppy.microservices.browse_tree.os.open", swap_then_open)

    swap_at("/proc/self/fd/")  # it was found inside, and that is what is read
    assert call(f"{URL}/download/swapped/file.txt").body == b"mine"
    (run / "swapped").unlink()
    (run / "before").rename(root / "before")
    swap_at(str(run))  # after a first look
    assert call(f"{URL}/download/swapped/file.txt").status == 400


def test_no_descriptor_is_left_open(root: Path) -> None:
    paths = [
        "notes.txt",
        "wepp",
        "outside_absolute",
        "inside",
        "loop",
        "pipe",
        "../x",
        "no/such/path",
        "exceptions.log",
    ]

    def ask() -> None:
        for path in paths:
            for route in ("browse", "files", "download", "schema", "gdalinfo"):
                call(f"{URL}/{route}/{path}")
        call(f"{URL}/aria2c.spec")
        gc.collect()  # a library that could not read a file closes it with its last object

    ask()  # lazily imported libraries open what they keep
    before = len(list(Path("/proc/self/fd").iterdir()))
    ask()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


PIECES = [
    "..", ".", "/", "//", "%2e%2e", "%2E", "%2f", "%00", "%5c", "\\", "%", "%zz", "%ff", "%c0%ae", "~", "wepp",
    "output", "loss.csv", "notes.txt", "inside", "inside_folder", "outside_folder", "outside_absolute", "by_outside",
    "loop", "nowhere", ".hidden", "to_hidden", "_logs", "pipe",
    "file.txt", "outside.txt", "etc", "passwd", "proc", "self",
    "%F0%9F%92%A7", ";", "&", "#",
]  # fmt: skip
ROUTES = ["browse", "files", "download", "schema", "gdalinfo"]
garbage = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=8).map(lambda pieces: "/".join(pieces).encode()),
    st.lists(st.sampled_from(PIECES), max_size=8).map(lambda pieces: "".join(pieces).encode()),
    st.binary(max_size=60).map(lambda data: b"".join(b"%%%02x" % byte for byte in data)),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="?"), max_size=60).map(
        str.encode
    ),
)


def readable(root: Path) -> set[bytes]:
    """The contents of every file of the run that may be read."""
    run = next((root / "wc1" / "runs" / "am").iterdir())
    return {
        path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and not path.is_symlink() and SECRET.encode() not in path.read_bytes()
    }


@given(route=st.sampled_from(ROUTES), path=garbage)
def test_any_path_gets_a_proper_answer_from_inside_the_run(root: Path, route: str, path: bytes) -> None:
    answer = call(URL.encode() + b"/" + route.encode() + b"/" + path)
    assert answer.status in {200, 400, 403, 404}
    assert SECRET.encode() not in answer.body
    if route == "download" and answer.status == 200:
        assert answer.body in readable(root)
    if answer.status != 200 or route != "download":
        assert str(root).encode() not in answer.body


@given(target=garbage)
def test_any_address_at_all_gets_a_proper_answer(root: Path, target: bytes) -> None:
    assert call(b"/" + target).status in {200, 404, 405}
    answer = call(b"/weppcloud/runs/" + target + b"/files")
    assert answer.status in {200, 400, 404}
    assert str(root).encode() not in answer.body
