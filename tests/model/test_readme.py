"""What the pages for users say agrees with the code: services, tasks and their flags, settings, links."""

from __future__ import annotations

import re
from typing import Any

import pytest
from invoke.parser import Parser

from tasks import namespace
from tests.model.conftest import ROOT

PAGES = ("README.md", "CONTRIBUTING.md", "docs/restore.md")
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| [^|]+ \| (\d*) ?\| (core|geo|push|legacy) \|", re.MULTILINE)
CODE = re.compile(r"`+([^`]+)`+")
INVOKED = re.compile(r"\binvoke ([a-z][a-z0-9]*(?:-[a-z0-9]+)*)((?: +\[?--?[a-z][^ ]*)*)")
FLAG = re.compile(r"--[a-z][a-z-]*")
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def page(name: str) -> str:
    """Return the text of a page."""
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(name: str) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    headings = [re.sub(r"[^\w\- ]", "", each.lower()) for each in HEADING.findall(page(name))]
    return {each.replace(" ", "-") for each in headings}


def test_the_readmes_service_table_agrees_with_the_compose_files(model: dict[str, Any]) -> None:
    listed = {name: (port, profile) for name, port, profile in ROW.findall(page("README.md"))}
    rendered = {}
    for name, service in model["services"].items():
        if service["labels"].get("wepp.role"):
            continue
        port = next((str(port["target"]) for port in service.get("ports", [])), "")
        rendered[name] = (port, *(service.get("profiles") or ["core"]))
    assert listed == rendered


@pytest.mark.parametrize("name", PAGES)
def test_every_task_that_a_page_names_exists_with_the_flags_it_is_given(name: str) -> None:
    tasks = {context.name: context for context in Parser(contexts=namespace.to_contexts()).contexts.values()}
    named = [
        (task, FLAG.findall(rest))
        for code in CODE.findall(page(name))
        for task, rest in INVOKED.findall(code)
    ]
    assert name == "CONTRIBUTING.md" or named
    for task, flags in named:
        assert task in tasks, task
        assert set(flags) <= tasks[task].flags.keys() | {"--help"}, (task, flags)


def test_every_task_is_in_the_readme() -> None:
    named = {task for task, _ in INVOKED.findall(page("README.md"))}
    assert {context.name for context in namespace.to_contexts()} <= named


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    for target, anchor in LINK.findall(page(name)):
        path = (folder / target).resolve() if target else ROOT / name
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(str(path.relative_to(ROOT))), (target, anchor)
