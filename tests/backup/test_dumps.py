"""Dumps of every form: recognized, read to their end, refused when anything is missing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from wepp_backup import dump_file
from wepp_backup.dump_file import open_dump, unwrapped
from wepp_backup.events import REFUSED, Problem, Reporter
from wepp_backup.server import Server, Session, execute
from wepp_backup.verify import Contents, verify

from tests.backup.loading import dumped

PACKINGS = ("none", "gzip:1", "lz4", "zstd:1")
SCHEMA = '''
SET search_path = public;
CREATE ROLE "odd ""owner""";
CREATE TABLE account (id int PRIMARY KEY, name text, hash text DEFAULT '$eur$');
INSERT INTO account SELECT n, repeat(md5(n::text), 3), '$2b$12$' || md5(n::text) FROM generate_series(1, 3000) n;
CREATE TABLE "Odd ""one""
x" ("a
b" text);
INSERT INTO "Odd ""one""
x" VALUES (E'\\\\.\\nCOPY x FROM stdin;\\n'), ('$$'), (NULL);
CREATE TABLE nothing (id int);
ALTER TABLE nothing OWNER TO "odd ""owner""";
GRANT SELECT ON account TO PUBLIC;
CREATE FUNCTION in_two(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC
  SELECT CASE WHEN a > 0 THEN 1 END; SELECT 2; END;
CREATE FUNCTION text_of() RETURNS text LANGUAGE sql AS $_$
SELECT 'COPY x FROM stdin;
\\! true';
$_$;
SELECT lo_from_bytea(16, decode(repeat('0a5c2e0a', 500), 'hex')), lo_from_bytea(17, '');
'''
ROWS = {"public.account": 3000, 'public."Odd ""one""\nx"': 3, "public.nothing": 0}


@pytest.fixture
def source(live: Session) -> Session:
    execute(live, 'DROP ROLE IF EXISTS "odd ""owner"""')
    execute(live, SCHEMA)
    return live


@pytest.fixture
def dump(server: Server, source: Session, tmp_path: Path) -> Callable[..., Path]:
    def make(*options: str, name: str = "a.dump") -> Path:
        return dumped(server, tmp_path / name, *options)

    return make


def read(path: Path) -> Contents:
    return verify(open_dump(path), Reporter(io.StringIO(), as_json=True))


def refusal(path: Path, about: str = "it was taken for a whole one") -> str:
    with pytest.raises(Problem) as told:
        pytest.fail(f"{about}: {read(path)}")
    assert told.value.exit_code == REFUSED
    return told.value.what


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("form", ["c", "d", "t", "p"])
def test_every_form_is_recognized_and_read(form: str, packing: str, dump: Callable[..., Path]) -> None:
    if form == "t" and packing != "none":
        pytest.skip("pg_dump packs no tar")
    path = dump(f"-F{form}", f"--compress={packing}")
    found = open_dump(path)
    assert found.kind == {"c": "custom", "d": "directory", "t": "tar", "p": "plain"}[form]
    contents = read(path)
    assert contents.rows == ROWS
    assert contents.large_objects == 2
    assert contents.roles == ('odd "owner"', "wepppy")
    assert contents.server_major == 17
    assert contents.database == ("" if form == "p" else "wepppy")


@pytest.mark.parametrize("form", ["c", "d", "t", "p"])
def test_rows_of_inserts_are_counted(form: str, dump: Callable[..., Path]) -> None:
    assert read(dump(f"-F{form}", "--inserts")).rows == {key: rows for key, rows in ROWS.items() if rows}
    assert read(dump(f"-F{form}", "--rows-per-insert=7", name="many")).rows is None


def places(size: int) -> list[int]:
    """Where a file of that many bytes is cut: everywhere near its ends, and at intervals between."""
    return sorted({*range(min(size, 9)), *range(0, size, max(1, size // 9)), *range(max(0, size - 6), size)})


@pytest.mark.parametrize("options", [("--compress=none",), ("--compress=zstd:1",), ("--inserts",)])
@pytest.mark.parametrize("form", ["c", "t", "p"])
def test_a_file_that_was_cut_is_refused(
    form: str, options: tuple[str, ...], dump: Callable[..., Path], tmp_path: Path
) -> None:
    if form == "t" and "zstd" in options[0]:
        pytest.skip("pg_dump packs no tar")
    whole = dump(f"-F{form}", *options).read_bytes()
    end = (
        whole.find(b"-- PostgreSQL database dump complete") if form == "p" and "zstd" not in options[0] else 0
    )
    for size in places(len(whole)):
        if end and size > end + len(b"-- PostgreSQL database dump complete"):
            continue  # nothing but blanks and \unrestrict is missing
        path = tmp_path / "cut"
        path.write_bytes(whole[:size])
        refusal(path, f"cut at {size}")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("how", ["--no-sync", "--inserts"])
def test_a_directory_with_a_file_that_was_cut_is_refused(
    how: str, packing: str, dump: Callable[..., Path], tmp_path: Path
) -> None:
    whole = dump("-Fd", f"--compress={packing}", how)
    cut = tmp_path / "cut"
    for file in sorted(whole.iterdir()):
        content = file.read_bytes()
        unpacked = file.suffix == ".dat" and file.name != "toc.dat"
        for size in places(len(content)):
            if file.name.startswith("blob_") and (unpacked or (not size and file.suffix != ".gz")):
                continue  # an empty large object is an empty file, and nothing says how long another is
            if unpacked and content[size:].strip(b"\n") == b"":
                continue  # every row is there
            if file.suffix == ".toc" and content[size:] == b"\n":
                continue
            shutil.rmtree(cut, ignore_errors=True)
            shutil.copytree(whole, cut)
            (cut / file.name).write_bytes(content[:size])
            refusal(cut, f"{file.name} of {len(content)} bytes cut at {size}, without {content[size:][:9]!r}")
        (cut / file.name).unlink()
        refusal(cut, f"{file.name} is missing")


WRAPPINGS = {
    "gzip": ["gzip", "-c"],
    "zstd": ["zstd", "-qc"],
    "lz4": ["lz4", "-qc"],
    "bzip2": [
        "python3",
        "-c",
        "import bz2, sys; sys.stdout.buffer.write(bz2.compress(sys.stdin.buffer.read()))",
    ],
    "xz": [
        "python3",
        "-c",
        "import lzma, sys; sys.stdout.buffer.write(lzma.compress(sys.stdin.buffer.read()))",
    ],
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("form", ["c", "t", "p"])
def test_a_dump_that_was_compressed_as_a_whole_is_read(
    form: str, wrapping: str, dump: Callable[..., Path], tmp_path: Path, report: Reporter
) -> None:
    plain = dump(f"-F{form}").read_bytes()
    wrapped = tmp_path / "wrapped"
    wrapped.write_bytes(
        subprocess.run(WRAPPINGS[wrapping], input=plain, stdout=subprocess.PIPE, check=True).stdout
    )
    assert open_dump(wrapped).compression == wrapping
    assert read(wrapped).rows == ROWS
    wrapped.write_bytes(gzip.compress(wrapped.read_bytes()))
    found = open_dump(wrapped)
    assert found.compression == f"gzip, {wrapping}"
    assert read(wrapped).rows == ROWS
    with unwrapped(found, report) as whole:
        if form != "p":
            assert whole.archive.read_bytes() == plain
            assert (
                subprocess.run(["pg_restore", "--list", whole.archive], stdout=subprocess.DEVNULL).returncode
                == 0
            )
    for size in (1, 100, len(wrapped.read_bytes()) // 2, len(wrapped.read_bytes()) - 1):
        cut = tmp_path / "cut"
        cut.write_bytes(wrapped.read_bytes()[:size])
        assert refusal(cut)
    wrapped.write_bytes(wrapped.read_bytes() + b"rubbish")
    assert "damaged" in refusal(wrapped)


def test_where_no_room_is_to_unwrap_a_dump_the_command_that_does_it_is_told(
    dump: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Reporter
) -> None:
    wrapped = tmp_path / "wrapped.gz"
    wrapped.write_bytes(gzip.compress(dump("-Fc").read_bytes()))
    full = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115 - closed by what it is given to
    monkeypatch.setattr(dump_file, "_temporary_file", lambda _: full)
    with pytest.raises(Problem, match="no room") as told, unwrapped(open_dump(wrapped), report):
        pass
    assert "`gzip -dc <wrapped.gz >NAME`" in told.value.fix


@pytest.mark.parametrize("form", ["c", "t", "d"])
def test_an_archive_that_came_through_a_terminal_is_refused(form: str, dump: Callable[..., Path]) -> None:
    path = dump(f"-F{form}")
    file = path / "toc.dat" if form == "d" else path
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert "without -t" in refusal(path)


def test_plain_sql_that_came_through_a_terminal_is_read(dump: Callable[..., Path]) -> None:
    path = dump("-Fp")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(path).rows == ROWS


def test_an_archive_without_entries_is_refused(dump: Callable[..., Path]) -> None:
    path = dump("-Fc")
    content = path.read_bytes()
    listing = subprocess.run(
        ["pg_restore", "--list", path], capture_output=True, check=True, text=True
    ).stdout
    count = int(listing.split("TOC Entries: ")[1].split()[0])
    at = content.index(b"\0" + count.to_bytes(4, "little") + b"\0", 40)
    path.write_bytes(content[: at + 1] + bytes(4) + content[at + 5 :])
    assert "no entries" in refusal(path)


def test_the_version_of_an_archive_is_left_to_pg_restore(dump: Callable[..., Path]) -> None:
    path = dump("-Fc")
    content = bytearray(path.read_bytes())
    content[6] += 9
    path.write_bytes(content)
    assert open_dump(path).kind == "custom"
    assert "version 1.25" in refusal(path)
    assert "newer pg_dump" in refusal(path)


@pytest.mark.parametrize("form", ["c", "d"])
def test_a_dump_is_compared_with_its_checksum(form: str, dump: Callable[..., Path]) -> None:
    path = dump(f"-F{form}", "--compress=none")
    files = sorted(path.iterdir()) if form == "d" else [path]
    sums = "".join(
        f"{hashlib.sha256(each.read_bytes()).hexdigest()}  old{str(each).removeprefix(str(path))}\n"
        for each in files
    )
    checksum = path.with_name(path.name + ".sha256")
    checksum.write_text(sums)
    assert open_dump(path).checksummed
    assert read(path).rows == ROWS
    victim = files[-1] if form == "c" else path / "blob_16.dat"
    victim.write_bytes(victim.read_bytes().replace(b"\n\\.\n", b"\n\\,\n", 1))
    assert "checksum" in refusal(path)
    if form == "d":
        victim.unlink()
        assert "missing" in refusal(path)
    checksum.write_text("rubbish\n")
    assert "SHA-256" in refusal(path)


def test_a_checksum_is_taken_by_the_dumps_name_wherever_it_was_summed(dump: Callable[..., Path]) -> None:
    path = dump("-Fc")
    found, other = hashlib.sha256(path.read_bytes()).hexdigest(), "0" * 64
    checksum = path.with_name(path.name + ".sha256")
    for text in (
        f"{found} *{path}\n",
        f"{found}  ./a.dump\n",
        f"{other}  b.dump\n{found}  a.dump\n",
        f"{found}  b.dump",
    ):
        checksum.write_text(text)
        assert read(path).rows == ROWS
    for text in (f"{other}  a.dump\n", f"{found}  b.dump\n{other}  a.dump\n"):
        checksum.write_text(text)
        assert "checksum" in refusal(path)


def test_a_dump_whose_checksum_file_was_left_behind_is_compared_with_its_manifest(
    dump: Callable[..., Path],
) -> None:
    path = dump("-Fp")
    manifest = path.with_name(path.name + ".json")
    for text in ('{"sha256": "ab"}', "no JSON", '{"other": 1}', "[]"):
        manifest.write_text(text)
        assert not open_dump(path).checksummed
    manifest.write_text(json.dumps({"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}))
    assert open_dump(path).checksummed
    read(path)
    path.write_bytes(path.read_bytes().replace(b"3000\t", b"3001\t", 1))
    assert "checksum" in refusal(path)


def test_the_rows_are_compared_with_those_of_the_manifest(dump: Callable[..., Path]) -> None:
    path = dump("-Fc")
    told = {"format": 1, "created": "2026-01-01T00:00:00Z", "tables": ROWS, "large_objects": 2}
    manifest = path.with_name(path.name + ".json")
    manifest.write_text(json.dumps(told))
    read(path)
    manifest.write_text(json.dumps({**told, "tables": {**ROWS, "public.gone": 7}}))
    assert "public.gone has 0 rows instead of 7" in refusal(path)
    manifest.write_text(json.dumps({**told, "large_objects": 3}))
    assert "2 large objects" in refusal(path)


@pytest.mark.parametrize("form", ["c", "p"])
def test_rows_that_a_checksum_and_a_manifest_vouch_for_are_left_to_the_load(
    form: str, dump: Callable[..., Path], report: Reporter
) -> None:
    path = dump(f"-F{form}", "--compress=none")
    manifest = path.with_name(path.name + ".json")
    told = {
        "format": 1,
        "created": "2026-01-01T00:00:00Z",
        "tables": {**ROWS, "public.account": 7},
        "large_objects": 2,
    }

    def before_load(text: dict[str, object]) -> Contents:
        manifest.write_text(json.dumps(text))
        return verify(open_dump(path), report, before_load=True)

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    # Whoever verifies it without loading it reads the rows.
    for text in (told, {**told, "sha256": digest}):
        manifest.write_text(json.dumps(text))
        assert "public.account has 3000 rows instead of 7" in refusal(path)
    with pytest.raises(Problem, match="3000 rows instead of 7"):
        before_load(told)
    with pytest.raises(Problem, match="checksum"):
        before_load({**told, "sha256": "0" * 64})
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")
    with pytest.raises(Problem, match="3000 rows instead of 7"):
        before_load({**told, "sha256": "0" * 64})  # another dump's
    if form == "p":
        with pytest.raises(Problem, match="3000 rows instead of 7"):
            before_load({**told, "sha256": digest})  # its schema stands between the rows
        return
    found = before_load({**told, "sha256": digest, "roles": ["of a large object"]})
    assert found.rows == told["tables"]
    assert found.large_objects == 2
    assert found.roles == ('odd "owner"', "of a large object", "wepppy")
    assert found.server_major == 17


def test_what_is_no_dump_is_refused_with_the_reason(tmp_path: Path) -> None:
    def file(content: bytes) -> Path:
        path = tmp_path / "some"
        path.write_bytes(content)
        return path

    for content, words in (
        (b"", "is empty"),
        (b"hello", "not a dump of Postgres"),
        (gzip.compress(b"hello"), "not a dump of Postgres"),
        (b"--\n-- PostgreSQL database cluster dump\n--\n", "pg_dumpall"),
        (b"PGDMP\x01", "damaged"),
    ):
        assert words in refusal(file(content))
    assert "there is no dump" in refusal(tmp_path / "none")
    assert "without toc.dat" in refusal(tmp_path)
    (tmp_path / "toc.dat").write_bytes(b"rubbish")
    assert "does not begin" in refusal(tmp_path)
    subprocess.run(["tar", "-cf", tmp_path / "a.tar", "-C", tmp_path, "toc.dat", "some"], check=True)
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes().replace(b"toc.dat\0", b"x/t.dat\0"))
    assert "tar of files" in refusal(tmp_path / "a.tar")


def test_a_dump_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_bytes(b"PGDMP")
    path.chmod(0)
    assert "may not be read" in refusal(path)
