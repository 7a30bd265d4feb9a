"""Hashes of everything that a database holds, equal on servers of the majors 12 to 18 when the contents are.

Which tables: see row_counts. No code of the database's own is run: values go through their types' hash and output
functions, which only a superuser can define.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from wepp_backup import row_counts
from wepp_backup.row_counts import BATCH, Counts, Relation, each_row, relations, table_name, unlike
from wepp_backup.server import Session, column, quote, rows, value

# Expressions for a column and a seed, by the type's OID. That of a bigint folds its halves onto one another, so the
# value itself is mixed in; those of a timestamp are folded, too: of 2^32 ways to change one, one is overlooked.
HASHES = {
    16: "pg_catalog.hashint4extended({}::int4, {}::int8)",
    21: "pg_catalog.hashint2extended({}, {}::int8)",
    23: "pg_catalog.hashint4extended({}, {}::int8)",
    20: "pg_catalog.hashint8extended({0}, {1}::int8) # {0}",
    2950: "pg_catalog.uuid_hash_extended({}, {}::int8)",
    1114: "pg_catalog.timestamp_hash_extended({}, {}::int8)",
    1184: "pg_catalog.timestamp_hash_extended(pg_catalog.timezone('UTC'::text, {}), {}::int8)",
}
TEXTS = (25, 1043)
NULL = r"E'\x01null'"  # stands for a NULL among texts
ALONE = 1 << 20  # a table of so many bytes is a statement of its own
SIZES = "SELECT pg_table_size(to_regclass(name))::int8 FROM unnest(%s::text[]) AS name"
SEQUENCES = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2"""
# Large objects in slices of 1 MiB, for a whole one may be larger than any value.
LARGE_OBJECTS = """
WITH RECURSIVE slice (oid, start, size, hash) AS (
  SELECT oid, 0::int8, length(part), sha256(part)
  FROM pg_largeobject_metadata, LATERAL (SELECT lo_get(oid, 0, 1048576) AS part OFFSET 0) AS read
  UNION ALL SELECT oid, start + 1048576, length(part), sha256(part)
  FROM slice, LATERAL (SELECT lo_get(oid, start + 1048576, 1048576) AS part OFFSET 0) AS read WHERE size = 1048576)
SELECT count(DISTINCT oid), coalesce(sum(hashtextextended(concat_ws(' ', oid, start, hash), 0)), 0)::text FROM slice"""


@dataclass(frozen=True)
class Hashes(Counts):
    """Counts (no materialised views), and by "schema.table" the sum over the 64-bit hashes of a table's rows as a
    decimal number, in which their order does not count; where sequences stand ("last value, whether it was given
    out"), and the same sum over the large objects."""

    sums: dict[str, str] = field(default_factory=dict)
    sequences: dict[str, str] = field(default_factory=dict)
    large_object_sum: str = ""

    def differences(self, other: Counts) -> list[str]:
        """Return what `other` has unlike these expected hashes, a sentence each, by name."""
        found = super().differences(other)
        if not isinstance(other, Hashes):
            return found
        for name, many in sorted(self.tables.items()):
            if other.tables.get(name) == many and other.sums[name] != self.sums[name]:
                found.append(f"{name} has other contents in its {many} rows")
        found += unlike(
            self.sequences, other.sequences, "the sequence {0} is missing", "the sequence {0} is too much",
            "the sequence {0} stands at {2} instead of {1}",
        )  # fmt: skip
        if self.large_objects == other.large_objects and self.large_object_sum != other.large_object_sum:
            found.append(f"the {self.large_objects} large objects have other contents")
        return found


def hashes(*sessions: Session, search_path: str | None = None) -> Hashes:
    """Read everything in the database once, a table at a time in each session; all are in the same snapshot.

    search_path: what index expressions find their functions by; None: the application's own. Locks are given back as
    soon as a table is read. Raise psycopg.Error.
    """
    first = sessions[0]
    path = value(first, row_counts.SEARCH_PATH) if search_path is None else search_path
    free: SimpleQueue[Session] = SimpleQueue()
    for each in sessions:
        free.put(each)

    def read(batch: Sequence[Relation]) -> list[tuple[Any, ...]]:
        session = free.get()
        try:
            return each_row(session, [_row_hash(each) for each in batch], path)
        finally:
            free.put(session)

    batches, tables, sums = _batches(first), {}, {}
    with ThreadPoolExecutor(len(sessions)) as pool:
        for batch, answers in zip(batches, pool.map(read, batches), strict=True):
            for relation, (many, total) in zip(batch, answers, strict=True):
                tables[relation.name], sums[relation.name] = many, total
    many, total = rows(first, LARGE_OBJECTS)[0]
    return Hashes(tables, {}, many, sums, sequences(first), total)


def sequences(session: Session) -> dict[str, str]:
    """Return where each sequence stands."""
    found = rows(session, SEQUENCES)
    queries = [
        f"last_value || ', ' || is_called FROM {quote(schema)}.{quote(name)}" for schema, name in found
    ]
    answers = each_row(session, queries)
    return {table_name(*each): stands for each, (stands,) in zip(found, answers, strict=True)}


def _batches(session: Session) -> list[list[Relation]]:
    """Return the relations in the order to read them: the largest alone, the small ones together."""
    found = [each for each in relations(session) if not each.is_view]
    sizes = column(session, SIZES, [[each.identifier for each in found]])
    ordered = sorted(zip(sizes, found, strict=True), key=lambda each: -(each[0] or 0))
    alone = [[each] for size, each in ordered if (size or 0) >= ALONE]
    small = [each for size, each in ordered if (size or 0) < ALONE]
    return alone + [small[start : start + BATCH] for start in range(0, len(small), BATCH)]


def _row_hash(relation: Relation) -> str:
    """Return the query that counts the rows of a relation and sums up their hashes.

    Numbers and timestamps side by side, seeded with the column's place among the sorted names; the seed of each text is
    the hash of what came before. Of types whose own hash calls different values equal (numeric, float, json) the
    output's text is taken. It takes a quarter of the time of hashing r::text.
    """
    seeds, texts = ["0::int8"], []
    for place, (name, kind) in enumerate(relation.columns, 1):
        there = f"r.{quote(name)}"
        if kind in HASHES:
            seeds.append(f"coalesce({HASHES[kind].format(there, place)}, {-place}::int8)")
        elif kind in TEXTS:
            texts.append(f"coalesce({there}, {NULL})")
        else:
            # The type's output function; a cast to text may be another, and leaves blanks of char(n) out.
            texts.append(
                f"CASE pg_catalog.num_nulls({there}) WHEN 0 THEN pg_catalog.concat({there}) ELSE {NULL} END"
            )
    row = f"({' # '.join(seeds)})"
    for text in (*texts, "''"):
        # In collation C, for a hash under another one asks the C library.
        row = f'pg_catalog.hashtextextended({text} COLLATE "C", {row})'
    return f"count(*), coalesce(sum({row}), 0)::text FROM ONLY {relation.identifier} AS r"
