"""Read one Python file without executing it: what it imports when it is imported itself, which names it binds."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# A handler of one of these makes the imports above it optional.
CAUGHT = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True)
class Import:
    """One import statement: the module as written, the names taken from it, leading dots, its line."""

    module: str
    names: tuple[str, ...]
    level: int
    line: int


@dataclass(frozen=True)
class Code:
    """One file: its unconditional imports and the names it binds at module level.

    any_name: names cannot be told (a star import, `__getattr__`, `globals()`). problem: why it could not be read, empty
    when it could. query_enum: line of a `Query(enum=...)`, or 0.
    """

    imports: tuple[Import, ...] = ()
    names: frozenset[str] = frozenset()
    any_name: bool = False
    query_enum: int = 0
    problem: str = ""


def read(path: Path) -> Code:
    """Parse a file. What keeps it from being parsed is in `problem`."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, str(path))
    except OSError as error:
        return Code(problem=error.strerror or "cannot be read")
    except UnicodeDecodeError:
        return Code(problem="is not UTF-8 text")
    except (SyntaxError, ValueError) as error:
        return Code(problem=f"does not parse: {error.args[0] if error.args else error}")
    names, any_name = _bound(tree)
    any_name = any_name or "globals()" in text or "sys.modules" in text
    # A walk over every node costs more than the parse: only where the words are there at all.
    enum = _query_enum(tree) if "Query(" in text and "enum" in text else 0
    return Code(tuple(_imports(tree.body)), frozenset(names), any_name, enum)


def _imports(body: Sequence[ast.stmt]) -> Iterator[Import]:
    """Yield the imports that run whenever the module is imported: neither conditional nor caught."""
    for each in body:
        if isinstance(each, ast.Import):
            for alias in each.names:
                yield Import(alias.name, (), 0, each.lineno)
        elif isinstance(each, ast.ImportFrom):
            yield Import(each.module or "", tuple(a.name for a in each.names), each.level, each.lineno)
        elif isinstance(each, ast.Try):
            if not any(_catches(handler) for handler in each.handlers):
                yield from _imports(each.body)
                yield from _imports(each.orelse)
            yield from _imports(each.finalbody)
        elif isinstance(each, ast.With) and not any(_suppresses(item) for item in each.items):
            yield from _imports(each.body)


def _catches(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(_last_name(each) in CAUGHT for each in _elements(handler.type))


def _suppresses(item: ast.withitem) -> bool:
    call = item.context_expr
    return isinstance(call, ast.Call) and any(_last_name(each) in CAUGHT for each in call.args)


def _elements(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _bound(tree: ast.Module) -> tuple[set[str], bool]:
    """Return the names that a file binds at module level, and whether there may be others."""
    names: set[str] = set()
    any_name = False
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            any_name = any_name or node.name == "__getattr__"
            # What is bound inside belongs to it, apart from what a function declares as global.
            names.update(
                name for each in ast.walk(node) if isinstance(each, ast.Global) for name in each.names
            )
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.split(".")[0])
            any_name = any_name or node.name == "*"
        waiting.extend(ast.iter_child_nodes(node))
    return names, any_name


def _query_enum(tree: ast.Module) -> int:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and _last_name(node.func) == "Query"
            and any(keyword.arg == "enum" for keyword in node.keywords)
        ):
            return node.lineno
    return 0
