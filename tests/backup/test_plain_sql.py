"""Plain SQL: statements are found as the server finds them, run without psql, and nothing of it is a command."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wepp_backup import plain_sql
from wepp_backup.dump_file import open_dump
from wepp_backup.events import Problem, Reporter
from wepp_backup.plain_sql import Script
from wepp_backup.run_sql import Runner
from wepp_backup.server import Server, Session, column, execute, rows
from wepp_backup.verify import verify

from tests.backup.loading import dumped, text_of

END = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"
TEXT = st.text(st.sampled_from("ab $'\"\\;:-/*(){}\n\r\té%"), max_size=12)
WORD = st.from_regex(r"\A[a-zA-Z_é][a-z0-9_$é]{0,4}\Z").filter(
    lambda word: word.lower() not in ("begin", "end", "case")
)


class Drip(io.BytesIO):
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self.size = size

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.size if size is None or size < 0 else min(size, self.size))


def dollar(parts: tuple[str, str]) -> str:
    tag, body = f"${parts[0]}$", parts[1]
    while (body + tag).find(tag) < len(body):
        body = body.replace("$", "", 1)
    return tag + body + tag


LITERAL = st.one_of(
    TEXT.map(lambda text: "'" + text.replace("'", "''") + "'"),
    TEXT.map(lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"),
    TEXT.map(lambda text: "e'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    st.tuples(st.from_regex(r"\A([a-zA-Z_é][a-z0-9_é]{0,2})?\Z"), TEXT).map(dollar),
)
# psql itself does not know these, for it reads line by line; the server does.
CONTINUED = st.tuples(TEXT, TEXT).map(
    lambda two: (
        "E'"
        + two[0].replace("\\", "\\\\").replace("'", "\\'")
        + "' -- it's\n 'b\\'"
        + two[1].replace("\\", "").replace("'", "''")
        + "'"
    )
)
COMMENT = st.one_of(
    st.text(st.sampled_from("ab $'\"\\;-/*("), max_size=9).map(lambda text: f"--{text}\n"),
    st.recursive(
        st.text(st.sampled_from("ab $'\"\\;-("), max_size=6).map(lambda text: f"/*{text} */"),
        lambda inner: inner.map(lambda text: f"/* ' {text} $$ */"),
        max_leaves=3,
    ),
)
NAME = st.text(st.sampled_from("ab $'\\;-/*("), min_size=1, max_size=6).map(lambda text: f'"{text}"')
# After the end of a line a string would go on with the one before it (see CONTINUED), hence the sign.
PIECE = st.one_of(
    WORD,
    LITERAL,
    CONTINUED,
    COMMENT.map("{}+".format),
    NAME,
    st.sampled_from(["1", "$1", "::", "+", "-", "*", "/", "=", ",", "\n+", "<@"]),
)
BODY = st.lists(PIECE, max_size=6).map(" ".join)
BLOCK = st.recursive(
    BODY, lambda inner: st.lists(inner, max_size=3).map(lambda some: f"({' ; '.join(some)})"), max_leaves=4
)
ROUTINE = st.lists(st.tuples(BODY, st.booleans()), min_size=1, max_size=3).map(
    lambda some: (
        "CREATE OR REPLACE FUNCTION f(begin int, e text) RETURNS int LANGUAGE sql\nBEGIN /* ; */ ATOMIC\n"
        + "".join(f"SELECT {'CASE WHEN a THEN b END ' if case else ''}{body}\n;" for body, case in some)
        + " END;"
    )
)
STATEMENT = st.one_of(
    st.tuples(BODY, BLOCK, BODY).map(lambda three: f"SELECT {' '.join(three)}\n;"),
    st.lists(LITERAL | NAME, max_size=3).map(lambda some: f"INSERT INTO t VALUES (-1, {', '.join(some)});"),
    BODY.map(lambda body: f"INSERT INTO t VALUES ({body}\n);"),
    st.tuples(WORD, BODY).map(lambda two: f"CREATE FUNCTION begin() RETURNS {two[0]} AS {two[1]}\n;"),
    ROUTINE,
)
ROWS = st.lists(
    TEXT.map(lambda text: text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")), max_size=4
)
GAP = st.lists(st.one_of(COMMENT, st.sampled_from([" ", "\n", "\t"])), max_size=3).map("".join)


@settings(max_examples=600, deadline=None)
@given(st.lists(st.tuples(GAP, st.one_of(STATEMENT, ROWS)), max_size=5), st.integers(1, 40))
def test_statements_and_rows_are_split_exactly(parts: list[tuple[str, str | list[str]]], size: int) -> None:
    text, wanted = "", []
    for gap, part in parts:
        if isinstance(part, list):
            data = "".join(f"{row}\n" for row in part)
            text += f'{gap}COPY "a;b".t (e, "\'") FROM stdin;\n{data}\\.\n'
            wanted.append(("copy", data, len(part)))
        else:
            text += f"{gap}{part}"
            wanted.append(("statement", part, 0))
    script = Script(Drip(text.encode(), size), Path("some.sql"))
    found = []
    for statement in script.statements():
        if statement.startswith(b"COPY"):
            data = b"".join(script.rows()).decode()
            found.append(("copy", data, script.rows_read))
        else:
            found.append(("statement", statement.decode().removesuffix("\n"), 0))
    assert found == wanted


@settings(max_examples=300, deadline=None)
@given(STATEMENT, st.integers(1, 40), st.data())
def test_a_statement_that_was_cut_is_never_taken_for_a_whole_one(
    text: str, size: int, data: st.DataObject
) -> None:
    whole = text.encode()
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    with pytest.raises(Problem, match="ends inside"):
        list(Script(Drip(cut, size), Path("some.sql")).statements())


def run_in(session: Session, text: bytes) -> None:
    path = Path("some.sql")
    Runner(path, session, session, "public", is_archive=False).run(Script(io.BytesIO(text), path))


def test_a_string_that_goes_on_in_the_next_line_is_one_to_the_server(live: Session) -> None:
    run_in(live, b"CREATE TABLE public.t AS SELECT E'a\\'' -- it's\n 'b\\';' AS v;")
    assert column(live, "SELECT v FROM public.t") == ["a'b';"]


@pytest.fixture
def second(server: Server, live: Session) -> Iterator[Session]:
    execute(live, "CREATE DATABASE second TEMPLATE template0")
    with server.connect("second") as session:
        yield session


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.tuples(LITERAL, GAP), min_size=1, max_size=8))
def test_what_is_loaded_is_what_psql_loads(
    values: list[tuple[str, str]], server: Server, live: Session, second: Session
) -> None:
    text = "SET search_path = public;\nDROP TABLE IF EXISTS t;\nCREATE TABLE t (n int, v text);\n"
    for number, (value, gap) in enumerate(values):
        text += f"INSERT INTO t VALUES ({number},\n{value} {gap});{gap}"
    subprocess.run(
        ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", "wepppy", "-f", "-"],
        input=text.encode(), check=True, env={"PATH": "/usr/local/bin:/usr/bin:/bin", **server.environment()},
    )  # fmt: skip
    execute(second, "DROP TABLE IF EXISTS public.t")
    run_in(second, text.encode())
    query = "SELECT n, v FROM public.t ORDER BY n"
    assert rows(second, query) == rows(live, query)
    assert len(rows(second, query)) == len(values)


# ---- loading ----


@pytest.fixture
def load(second: Session, tmp_path: Path, report: Reporter) -> Callable[[bytes | Path], Session]:
    """Verify and load SQL, or a dump, into the database `second`."""

    def run(content: bytes | Path) -> Session:
        path = content if isinstance(content, Path) else tmp_path / "a.sql"
        if isinstance(content, bytes):
            path.write_bytes(
                b"--\n-- PostgreSQL database dump\n--\n\nSET search_path = public;\n" + content + END
            )
        dump = open_dump(path)
        verify(dump, report)
        runner = Runner(path, second, second, "public", is_archive=False)
        with dump.text() as text:
            runner.run(Script(text, path))
        runner.finish()
        return second

    return run


Load = Callable[[bytes | Path], Session]


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT '$a$';\n\\! touch /tmp/was-run\nSELECT '$a$';",
        b"SELECT 1 \\! touch /tmp/was-run\n;",
        b"SELECT a$b$ FROM t;\n\\! touch /tmp/was-run\n--$b$",
        b"SELECT E'\\\\';\n\\! touch /tmp/was-run\n--';",
        b"/* /* */\n\\! touch /tmp/was-run\n*/ */ SELECT 1;\n\\! touch /tmp/was-run",
        b"-- '\n\\! touch /tmp/was-run\n-- '",
        b"\\connect other",
        b"\\i /etc/passwd",
        b"\\restrict a\n\\unrestrict a\n\\o /tmp/was-run",
        b"SELECT 1 \\restrict a\n;",
        b"SELECT 1 \\g |touch /tmp/was-run\n;",
        b"CREATE TABLE t (a text);\nCOPY t (a) FROM PROGRAM 'touch /tmp/was-run; echo from stdin';",
        b"CREATE TABLE t (a text);\nCOPY t FROM PROGRAM 'touch /tmp/was-run' -- FROM stdin\n;",
        b"CREATE TABLE t (a text);\nCOPY t TO '/tmp/was-run';",
        b"COPY t FROM stdin; \\! touch /tmp/was-run\n\\.\n",
        b"CREATE ROLE other SUPERUSER;",
        b"CREATE DATABASE one;\n\\connect one\nCREATE DATABASE two;\n\\connect two",
    ],
)
def test_what_is_no_statement_of_a_dump_is_refused_before_anything_runs(
    text: bytes, load: Load, second: Session
) -> None:
    with pytest.raises(Problem, match=r"line \d+") as told:
        load(b"CREATE TABLE first (a int);\n" + text)
    assert "is not loaded" in told.value.what
    assert not Path("/tmp/was-run").exists()
    assert column(second, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []


def test_what_only_looks_like_a_command_is_loaded(load: Load) -> None:
    session = load(
        b"""
-- \\! is a remark
/* \\connect other
CREATE DATABASE x; */
CREATE TABLE account (id int, hash text DEFAULT '$eur$', more text DEFAULT '$$');
INSERT INTO account VALUES (1, '$2b$12$abcdefghijklmnopqrstuv', '\\! true');
INSERT INTO account VALUES (2, 'pbkdf2:sha256:600000$salt$0011', '
\\! true
CREATE DATABASE x;
-- PostgreSQL database dump complete
');
COPY account (id, hash) FROM stdin;
3\t\\\\! true
4\tCREATE ROLE x;
\\.
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$
SELECT '$a$;
\\! true
COPY x FROM stdin;
';
$_$;
CREATE FUNCTION begin() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
CREATE RULE r AS ON UPDATE TO account DO ALSO (SELECT 1; SELECT 2);
"""
    )
    assert column(session, "SELECT hash FROM public.account ORDER BY id") == [
        "$2b$12$abcdefghijklmnopqrstuv", "pbkdf2:sha256:600000$salt$0011", "\\! true", "CREATE ROLE x;",
    ]  # fmt: skip
    assert column(session, "SELECT public.begin()") == [2]
    assert column(session, "SELECT public.f()") == ["$a$;\n\\! true\nCOPY x FROM stdin;\n"]


def test_a_grant_on_something_that_is_named_like_a_database_is_not_left_out(load: Load) -> None:
    session = load(
        b'CREATE TABLE "x on database y" (a int);\nGRANT SELECT ON TABLE "x on database y" TO PUBLIC;'
    )
    assert column(session, "SELECT relacl::text LIKE '%=r/%' FROM pg_class WHERE relname LIKE 'x on %'") == [
        True
    ]


def test_a_mark_too_many_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_sql, "LONGEST", 1 << 20)
    stream = io.BytesIO(b"SELECT 'a' ';\n" + b"SELECT 1;\n" * 600_000)
    with pytest.raises(Problem, match="line 1 begins a statement of more than 1 MB"):
        list(Script(stream, Path("some.sql")).statements())
    assert stream.tell() < 4 << 20


def test_strings_whose_backslashes_escape_are_read_so(load: Load) -> None:
    session = load(
        b"SET standard_conforming_strings = off;\nSET escape_string_warning = off;\nCREATE TABLE t (a text);\n"
        b"INSERT INTO t VALUES ('it\\'s; \\\\');\nINSERT INTO t VALUES ('b\\\\');\n"
    )
    assert column(session, "SELECT a FROM public.t ORDER BY a") == ["b\\", "it's; \\"]


def test_a_statement_that_fails_is_told_with_its_line(load: Load) -> None:
    with pytest.raises(Problem, match=r'line 8: relation "public.none" does not exist'):
        load(b"CREATE TABLE t (a int);\n\nINSERT INTO public.none VALUES (1);")
    with pytest.raises(Problem, match="line 7: invalid input syntax"):
        load(b"CREATE TABLE u (a int);\nCOPY u (a) FROM stdin;\nx\n\\.\n")


def test_what_is_missing_is_not_passed_over_behind_the_first_thing_made(load: Load) -> None:
    with pytest.raises(Problem, match="does not exist"):
        load(b"DROP TABLE none;\nCREATE TABLE t (a int);\nDROP TABLE none;")


def test_marks_that_no_other_server_takes_are_left_out(load: Load) -> None:
    session = load(
        b"CREATE TABLE t (a int, b int);\nALTER TABLE ONLY t ALTER COLUMN a SET (pg_attver=7, n_distinct=5);\n"
        b"ALTER TABLE ONLY t ALTER COLUMN b SET (pg_attver=7);\nSET transaction_timeout = 0;"
    )
    options = column(
        session, "SELECT unnest(attoptions) FROM pg_attribute WHERE attrelid = 'public.t'::regclass"
    )
    assert "n_distinct=5" in options
    assert "pg_attver=7" not in options


ZOO = """
SET search_path = public;
CREATE TYPE mood AS ENUM ('sad', 'it''s; ok');
CREATE TABLE a (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, m mood, t text DEFAULT '$eur$', CHECK (t <> ';'));
CREATE TABLE b (id int REFERENCES a, "semi;colon" text) ;
CREATE VIEW v AS SELECT id FROM a;
CREATE MATERIALIZED VIEW w AS SELECT count(*) AS n FROM a;
CREATE VIEW circle AS SELECT id, t FROM a GROUP BY id;
CREATE SCHEMA other;
CREATE TABLE other.p (a int) PARTITION BY LIST (a);
CREATE TABLE other.p1 PARTITION OF other.p FOR VALUES IN (1);
CREATE FUNCTION f(x int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN x > 0 THEN 1 ELSE 2 END; END;
CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END; $$;
CREATE TRIGGER tr BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION g();
CREATE RULE r AS ON UPDATE TO b DO ALSO (SELECT 1; SELECT 2);
INSERT INTO a (m, t) SELECT 'it''s; ok', E'a\\n\\\\.\\n' || n FROM generate_series(1, 500) n;
INSERT INTO b SELECT id, '$$' || id FROM a;
INSERT INTO other.p VALUES (1);
COMMENT ON TABLE a IS E'\\n\\\\! true\\n';
COMMENT ON SCHEMA public IS 'ours';
ALTER DATABASE wepppy SET work_mem = '5MB';
GRANT SELECT ON a TO PUBLIC;
SELECT lo_from_bytea(16, decode(repeat('0a5c2e0a', 5000), 'hex')), lo_from_bytea(17, '');
"""


@pytest.mark.parametrize(
    "options",
    [
        (), ("--inserts",), ("--column-inserts", "--rows-per-insert=50"), ("--clean",), ("--clean", "--if-exists"),
        ("--create",), ("--create", "--clean"), ("--schema=public", "--large-objects"),
        ("--schema=public", "--large-objects", "--clean"), ("--compress=zstd:1",), ("--quote-all-identifiers",),
    ],
)  # fmt: skip
def test_dumps_of_every_option_are_loaded_whole(
    options: tuple[str, ...], server: Server, live: Session, load: Load, tmp_path: Path
) -> None:
    execute(live, ZOO)
    load(dumped(server, tmp_path / "a.sql", *options))
    scope = [each for each in options if each.startswith(("--schema", "--large"))]
    assert text_of(server, "second", *scope) == text_of(server, "wepppy", *scope)


def test_a_dump_that_comes_with_the_line_ends_of_another_system_is_loaded_as_it_was(load: Load) -> None:
    text = b"CREATE TABLE t (a text);\nINSERT INTO t VALUES ('a\n\rb\r\nc');\nCOPY t FROM stdin;\nx\\n\n\\.\n"
    with_title = b"--\n-- PostgreSQL database dump\n--\nSET search_path = public;\n" + text + END
    path = Path("/tmp/translated.sql")
    path.write_bytes(with_title.replace(b"\n", b"\r\n"))
    try:
        session = load(path)
    finally:
        path.unlink()
    assert column(session, "SELECT a FROM public.t ORDER BY a") == ["a\n\rb\r\nc", "x\n"]


def test_a_connect_counts_only_to_the_database_that_the_dump_makes(load: Load) -> None:
    session = load(
        b"CREATE DATABASE old;\nALTER DATABASE old OWNER TO nobody;\n\\connect old\nCREATE TABLE public.t (a int);"
    )
    assert column(session, "SELECT relname FROM pg_class WHERE oid = 'public.t'::regclass") == ["t"]
    with pytest.raises(Problem, match="command for psql"):
        load(b"CREATE DATABASE old;\n\\connect old\n\\connect other")
