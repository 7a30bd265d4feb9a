"""Tables out of Parquet and CSV files: a first look, the schema, and Parquet as CSV."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from wepppy.config.environment import setting
from wepppy.microservices.browse_kinds import TABLES, suffix
from wepppy.microservices.browse_tree import Node, shown
from wepppy.microservices.service_errors import ServiceError

if TYPE_CHECKING:  # pyarrow takes a quarter of a second to import; only tables pay for it
    import pyarrow as pa

CSV_PREVIEW_ROWS = 200
CSV_PREVIEW_BYTES = 1 << 20
MAX_COLUMNS = 200
MAX_CELL = 200
BATCH_ROWS = 10_000
_NUMBER = re.compile(r"\s*[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?\s*|[Nn]a[Nn]|")


@dataclass(frozen=True)
class Table:
    """The first rows of a table as text. `total` is the number of rows in the file when it is known."""

    columns: list[str]
    numeric: list[bool]
    rows: list[list[str]]
    total: int | None
    complete: bool


def preview_limit() -> int:
    """Return how many rows of a Parquet file a page shows."""
    return _limit("BROWSE_PARQUET_PREVIEW_LIMIT", 500)


def export_limit() -> int:
    """Return how many rows of a Parquet file are given as CSV at most."""
    return _limit("BROWSE_PARQUET_EXPORT_MAX_ROWS", 2_000_000)


def preview_csv(node: Node) -> Table:
    """Return the first rows of a CSV or TSV file, however odd its contents."""
    data = os.pread(node.fd, CSV_PREVIEW_BYTES, 0)
    whole = len(data) == node.status.st_size
    text = data.decode("utf-8-sig", "replace").replace("\0", "\ufffd")
    if not whole:
        text = text[: text.rfind("\n") + 1] or text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=TABLES.get(suffix(node.name), ","))
    rows: list[list[str]] = []
    try:
        rows.extend(itertools.islice(reader, CSV_PREVIEW_ROWS + 2))
    except csv.Error:
        whole = False
    header = [_cell(name) for name in rows[0][:MAX_COLUMNS]] if rows else []
    body = [[_cell(cell) for cell in row[:MAX_COLUMNS]] for row in rows[1 : CSV_PREVIEW_ROWS + 1]]
    width = max((len(row) for row in [header, *body]), default=0)
    body = [row + [""] * (width - len(row)) for row in body]
    header += [""] * (width - len(header))
    numeric = [bool(body) and all(_NUMBER.fullmatch(row[at]) for row in body) for at in range(width)]
    complete = whole and len(rows) <= CSV_PREVIEW_ROWS + 1
    return Table(header, numeric, body, len(body) if complete else None, complete)


def preview_parquet(node: Node) -> Table:
    """Return the first rows of a Parquet file. Raises ServiceError `validation_error` (400) if it is none."""
    import pyarrow as pa

    with _descriptor(node) as stream:
        parquet = _open(stream)
        total = parquet.metadata.num_rows
        names = parquet.schema_arrow.names[:MAX_COLUMNS]
        columns = list(range(len(names)))
        limit = preview_limit()
        try:
            batches = parquet.iter_batches(batch_size=min(limit, BATCH_ROWS))
            rows: list[list[str]] = []
            while len(rows) < limit and (batch := next(batches, None)) is not None:
                cells = [batch.column(at).to_pylist() for at in columns]
                rows.extend([_cell(_text(cell)) for cell in row] for row in zip(*cells, strict=True))
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise _not_parquet() from error
        fields = [parquet.schema_arrow.field(at).type for at in columns]
        numeric = [pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in fields]
        rows = rows[:limit]
        return Table([_cell(name) for name in names], numeric, rows, total, len(rows) == total)


def schema(node: Node) -> dict[str, Any]:
    """Return the columns, row count and layout of a Parquet file. Raises ServiceError (400) if it is none."""
    with _descriptor(node) as stream:
        parquet = _open(stream)
        metadata = parquet.metadata
        fields = [
            {"name": field.name, "type": str(field.type), "nullable": field.nullable}
            | ({"metadata": _words(field.metadata)} if field.metadata else {})
            for field in parquet.schema_arrow
        ]
        return {
            "name": shown(node.name),
            "path": shown(node.path),
            "size_bytes": node.status.st_size,
            "num_rows": metadata.num_rows,
            "num_columns": len(fields),
            "num_row_groups": metadata.num_row_groups,
            "created_by": metadata.created_by,
            "columns": fields,
        }


def csv_of_parquet(node: Node) -> Iterator[bytes]:
    """Yield a Parquet file as CSV with a header line, some thousand rows at a time; nested values as JSON.

    Raises ServiceError before the first piece: 400 `validation_error` if it is no Parquet file,
    413 `parquet_filter_row_limit_exceeded` if it has too many rows. The node must stay open until the end.
    """
    stream = _descriptor(node)
    try:
        parquet = _open(stream)
        rows, limit = parquet.metadata.num_rows, export_limit()
        if rows > limit:
            raise ServiceError(
                413,
                "parquet_filter_row_limit_exceeded",
                f"The table has {rows} rows; at most {limit} are given as CSV. Download the Parquet file.",
            )
    except BaseException:
        stream.close()
        raise

    def pieces() -> Iterator[bytes]:
        from pyarrow import csv as arrow_csv

        with stream:
            empty = _flat(parquet.schema_arrow.empty_table())
            header = io.BytesIO()
            arrow_csv.write_csv(empty, header)
            yield header.getvalue()
            import pyarrow as pa

            options = arrow_csv.WriteOptions(include_header=False)
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
                piece = io.BytesIO()
                arrow_csv.write_csv(_flat(pa.Table.from_batches([batch])), piece, options)
                yield piece.getvalue()

    return pieces()


def _flat(table: pa.Table) -> pa.Table:
    """Return the table with every column that CSV can't hold as text."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        kind = field.type
        if pa.types.is_dictionary(kind):
            table = table.set_column(at, field.name, table.column(at).cast(kind.value_type))
        elif pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            values = [None if value is None else _text(value) for value in table.column(at).to_pylist()]
            table = table.set_column(at, field.name, pa.array(values, pa.string()))
    return table


def _open(stream: BinaryIO) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(stream)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _not_parquet() from error


def _not_parquet() -> ServiceError:
    return ServiceError(400, "validation_error", "This is not a Parquet file that can be read.")


def _descriptor(node: Node) -> BinaryIO:
    return open(os.open(node.local_path, os.O_RDONLY | os.O_CLOEXEC), "rb")  # noqa: PTH123 - a descriptor


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _cell(text: str) -> str:
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _words(metadata: dict[bytes, bytes]) -> dict[str, str]:
    return {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in metadata.items()
    }


def _limit(name: str, default: int) -> int:
    text = setting(name)
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text) else default
