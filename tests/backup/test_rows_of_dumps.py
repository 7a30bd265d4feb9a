"""Rows of a dump's SQL are counted by table, whatever names and values look like and wherever the pieces end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wepp_backup.events import Problem
from wepp_backup.row_counts import table_name
from wepp_backup.server import quote
from wepp_backup.verify import count_rows

from tests.backup.test_plain_sql import Drip

PATH = Path("some.dump")
LONG = b"x" * 300
TEXT = b"""SET a = 1;
-- Data for Name: it's one; Type: TABLE DATA
COPY public.t (id, r) FROM stdin;
1\tCOPY x FROM stdin;
\\\\.
%b
\\.


SELECT pg_catalog.lowrite(0, '%b');
SELECT pg_catalog.setval('"a
COPY public.t (id) FROM stdin;
"', 1, true);
COPY public.nothing  FROM stdin;


\\.

COPY public.empty (id) FROM stdin;
\\.

COPY "Odd.""s"."a
b" ("c
COPY public.t (id) FROM stdin;
d", "e;") FROM stdin;
1
\\.
""" % (LONG, LONG)
WANTED = {"public.t": 3, "public.nothing": 2, "public.empty": 0, '"Odd.""s"."a\nb"': 1}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 128, 100000])
def test_rows_are_counted_wherever_the_pieces_end(size: int) -> None:
    assert count_rows(Drip(TEXT, size), PATH) == WANTED


def test_a_text_that_ends_inside_a_table_is_refused() -> None:
    text = b"COPY public.t (id) FROM stdin;\n1\n2\n\\.\n"
    for length in range(text.index(b"\n") + 1, len(text)):
        with pytest.raises(Problem, match="inside the rows of a table"):
            count_rows(io.BytesIO(text[:length]), PATH)


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
tables = st.dictionaries(
    st.tuples(names, names), st.lists(st.sampled_from([b"", b"\\\\.", b".", b"a\tb", LONG]))
)


@given(tables, st.lists(names, max_size=3), st.integers(1, 400))
def test_any_names_and_rows_are_told_apart(
    given_tables: dict[tuple[str, str], list[bytes]], columns: list[str], size: int
) -> None:
    text, wanted = b"--\n", {}
    for (schema, table), rows in given_tables.items():
        listed = f" ({', '.join(map(quote, columns))})" if columns else " "
        text += f"COPY {quote(schema)}.{quote(table)}{listed} FROM stdin;\n".encode()
        text += b"".join(row + b"\n" for row in rows) + b"\\.\n\n\n"
        wanted[table_name(schema, table)] = len(rows)
    assert count_rows(Drip(text, size), PATH) == wanted
