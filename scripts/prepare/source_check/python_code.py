"""Read Python files without executing them: what each imports when it is imported, which names it binds."""

from __future__ import annotations

import ast
import contextlib
import re
import symtable
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scripts.base.files import read_state, write_state

# A handler of one of these makes the imports above it optional.
CAUGHT = re.compile(r"\b(ImportError|ModuleNotFoundError|Exception|BaseException)\b")
# Names that cannot be told by reading.
ANY_NAME = re.compile(r"import \*|globals\(\)|sys\.modules|def __getattr__")
# A call of FastAPI's `Query` with `enum`, other calls among its arguments.
QUERY_ENUM = re.compile(r"\bQuery\((?:[^()]|\([^()]*\))*\benum\s*=")
# A cache of another form is of no use.
FORM = 2


class Import(NamedTuple):
    """One import statement: the module as written, the names taken from it, leading dots, its line."""

    module: str
    names: Sequence[str]
    level: int
    line: int


class Code(NamedTuple):
    """One file: its unconditional imports and the names it binds at module level (None: they cannot be told).

    problem: why it could not be read, empty when it could. query_enum: line of a `Query(enum=...)`, or 0.
    """

    imports: Sequence[Import] = ()
    names: Sequence[str] | None = None
    query_enum: int = 0
    problem: str = ""


def read(path: Path) -> Code:
    """Parse a file. What keeps it from being parsed is in `problem`."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, str(path))
        table = symtable.symtable(text, str(path), "exec")
    except OSError as error:
        return Code(problem=error.strerror or "cannot be read")
    except UnicodeDecodeError:
        return Code(problem="is not UTF-8 text")
    except (SyntaxError, ValueError) as error:
        return Code(problem=f"does not parse: {error.args[0] if error.args else error}")
    bound = (
        each
        for each in table.get_symbols()
        if each.is_assigned() or each.is_imported() or each.is_declared_global()
    )
    names = None if ANY_NAME.search(text) else sorted(each.get_name() for each in bound)
    enum = QUERY_ENUM.search(text)
    return Code(tuple(_imports(tree.body)), names, text.count("\n", 0, enum.start()) + 1 if enum else 0)


def _imports(body: Sequence[ast.stmt]) -> Iterator[Import]:
    """Yield the imports that run whenever the module is imported: neither conditional nor caught."""
    for each in body:
        match each:
            case ast.Import():
                for alias in each.names:
                    yield Import(alias.name, (), 0, each.lineno)
            case ast.ImportFrom():
                yield Import(each.module or "", [alias.name for alias in each.names], each.level, each.lineno)
            case ast.Try():
                if not any(handler.type is None or _is_caught(handler.type) for handler in each.handlers):
                    yield from _imports([*each.body, *each.orelse])
                yield from _imports(each.finalbody)
            case ast.With():
                if not any(_is_caught(item.context_expr) for item in each.items):
                    yield from _imports(each.body)


def _is_caught(expression: ast.expr) -> bool:
    return bool(CAUGHT.search(ast.unparse(expression)))


class Cache:
    """Reads files through a cache at `path`: one with the same time of change and size is not parsed again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        state = read_state(path)
        self._kept: dict[str, Any] = state["files"] if state.get("form") == FORM else {}
        self._changed = False

    def code(self, file: Path) -> Code:
        """Return what a file says."""
        try:
            state = [file.stat().st_mtime_ns, file.stat().st_size]
        except OSError:
            return read(file)
        before, *said = self._kept.get(str(file)) or [None]
        if before == state:
            return Code([Import(*each) for each in said[0]], *said[1:])
        code = read(file)
        self._kept[str(file)] = [state, *code]
        self._changed = True
        return code

    def save(self) -> None:
        """Write the cache, where there is a folder for it and something new to keep."""
        if self._changed and self._path.parent.is_dir():
            kept = {name: each for name, each in self._kept.items() if Path(name).exists()}
            # Without a cache the next check only takes longer.
            with contextlib.suppress(OSError):
                write_state(self._path, {"form": FORM, "files": kept})
