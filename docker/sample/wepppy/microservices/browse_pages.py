"""Pages for people: a directory as a table, a file with a look inside. No script, no outside assets."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from starlette.responses import HTMLResponse

from wepppy.microservices import browse_pictures, browse_rasters, browse_tables
from wepppy.microservices.browse_access import Access, run_url
from wepppy.microservices.browse_kinds import kind
from wepppy.microservices.browse_listing import Entry, Listing, Query, link_target
from wepppy.microservices.browse_tree import Node, shown
from wepppy.microservices.service_errors import ServiceError

PAGE_ENTRIES = 500
TEXT_BYTES = 64 * 1024
SMALL_PICTURE = 480  # pixels; smaller rasters are shown with larger cells
_folder = Path(__file__).with_name("browse_templates")
_templates = Environment(
    loader=FileSystemLoader(_folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_style = Markup((_folder / "page.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
_digest = base64.b64encode(hashlib.sha256(_style.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_digest}'; img-src 'self' data:; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)


def directory_page(access: Access, node: Node, listing: Listing, query: Query) -> HTMLResponse:
    """Return the page of an open directory."""
    shown_now = len(listing.entries)
    first = query.offset + 1 if shown_now else 0
    parent = None
    if node.path:
        above = node.path.rpartition("/")[0]
        parent = access.link("browse", above + "/" if above else "")
    return _page(
        "directory.html",
        access,
        node.path,
        query=query,
        columns=[
            _column(query, *column) for column in (("name", "Name"), ("size", "Size"), ("date", "Changed"))
        ],
        rows=[_row(access, node, entry) for entry in listing.entries],
        parent=parent,
        summary=f"{first} to {query.offset + shown_now} of {listing.total}",
        before=_paged(query, max(0, query.offset - query.limit)) if query.offset else None,
        after=_paged(query, query.offset + query.limit) if query.offset + shown_now < listing.total else None,
        json_link=access.link("files", node.path) if node.path else f"{access.url}/files",
    )


def file_page(access: Access, node: Node) -> HTMLResponse:
    """Return the page of an open file with what can be shown of its contents."""
    own = access.link("browse", node.path)
    content: dict[str, Any] = {"actions": [], "text": None}
    sort = kind(node.name)
    try:
        if sort == "raster":
            content |= _raster(access, node, own)
        elif sort in ("parquet", "table"):
            content |= _table(access, node, sort)
        elif sort == "picture":
            content["image"] = own + "?raw=1"
        elif sort == "page":
            content |= {"frame": own + "?raw=1", "actions": [("Full page", own + "?raw=1")]}
        elif sort == "text":
            content |= _text(node)
        else:
            content["problem"] = "There is no preview for this kind of file."
    except ServiceError as error:
        content["problem"] = error.message
    return _page(
        "file.html",
        access,
        node.path,
        size=_size(node.status.st_size),
        download=access.link("download", node.path),
        **_times(node.status.st_mtime),
        **content,
    )


def error_page(runid: str, config: str, status: int, message: str) -> HTMLResponse:
    """Return a page with an error message."""
    heading = {404: "Not found", 403: "Access denied", 400: "That can't be shown"}.get(
        status, "Something is wrong"
    )
    text = _templates.get_template("error.html").render(
        title=heading,
        heading=heading,
        message=message,
        style=_style,
        home=run_url(runid, config),
        runid=shown(runid),
        crumbs=[],
    )
    return HTMLResponse(text, status, {"content-security-policy": POLICY, "cache-control": "no-store"})


def _page(template: str, access: Access, path: str, **content: Any) -> HTMLResponse:
    parts = [part for part in path.split("/") if part]
    crumbs: list[tuple[str, str | None]] = [("files", access.link("browse", "") if parts else None)]
    for at, part in enumerate(parts):
        last = at == len(parts) - 1
        crumbs.append((shown(part), None if last else access.link("browse", "/".join(parts[: at + 1]) + "/")))
    heading = shown(parts[-1]) if parts else "Files"
    text = _templates.get_template(template).render(
        title=f"{heading} · {shown(access.runid)}",
        heading=heading,
        style=_style,
        home=access.url,
        runid=shown(access.runid),
        crumbs=crumbs,
        **content,
    )
    headers = {"content-security-policy": POLICY, "cache-control": "private, no-cache"}
    return HTMLResponse(
        text, headers=headers | {"x-content-type-options": "nosniff", "referrer-policy": "same-origin"}
    )


def _column(query: Query, sort: str, title: str) -> dict[str, Any]:
    chosen = query.sort == sort
    # The first click on a size or a time shows the largest or the latest.
    order = ("asc" if sort == "name" else "desc") if not chosen else "desc" if query.order == "asc" else "asc"
    parameters = {"sort": sort, "order": order} | ({"pattern": query.pattern} if query.pattern else {})
    return {
        "title": title,
        "sort": sort,
        "numeric": sort == "size",
        "link": "?" + urlencode(parameters, errors="replace"),
        "direction": ("ascending" if query.order == "asc" else "descending") if chosen else None,
        "mark": (" \u2191" if query.order == "asc" else " \u2193") if chosen else "",
    }


def _paged(query: Query, offset: int) -> str:
    parameters: dict[str, str | int] = {
        "sort": query.sort,
        "order": query.order,
        "limit": query.limit,
        "offset": offset,
    }
    if query.pattern:
        parameters["pattern"] = query.pattern
    return "?" + urlencode(parameters, errors="replace")


def _row(access: Access, node: Node, entry: Entry) -> dict[str, Any]:
    path = f"{node.path}/{entry.name}" if node.path else entry.name
    row: dict[str, Any] = {"name": shown(entry.name), "size": "", "note": "", **_times(entry.modified)}
    if entry.kind == "directory":
        return row | {"link": access.link("browse", path + "/"), "folder": True, "name": row["name"] + "/"}
    if entry.kind == "symlink":
        target = link_target(node, entry.name, access.run, access.privileged)
        if target is None:
            return row | {"note": "(link that leads nowhere)"}
        leads = f"\u2192 {shown(target[0]) or '/'}"
        if target[1]:
            return row | {"link": access.link("browse", path + "/"), "folder": True, "note": leads}
        return row | {
            "link": access.link("browse", path),
            "note": leads,
            "download": access.link("download", path),
        }
    return row | {
        "link": access.link("browse", path),
        "size": _size(entry.size),
        "download": access.link("download", path),
    }


def _raster(access: Access, node: Node, own: str) -> dict[str, Any]:
    facts = browse_rasters.describe(node)
    picture = browse_pictures.picture(node)
    system = facts.get("coordinateSystem", {}).get("epsg")
    transform = facts["geoTransform"]
    facts_shown: list[tuple[str, str]] = [
        ("Cells", f"{facts['size'][0]} \u00d7 {facts['size'][1]}"),
        ("Cell size", f"{abs(transform[1]):g} \u00d7 {abs(transform[5]):g}"),
        ("Coordinates", f"EPSG:{system}" if system else "not a known system"),
        ("Bands", ", ".join(band["type"] for band in facts["bands"])),
    ]
    if "noDataValue" in facts["bands"][0]:
        nothing = facts["bands"][0]["noDataValue"]
        facts_shown.append(("No data", nothing if isinstance(nothing, str) else f"{nothing:g}"))
    enlarged = max(1, SMALL_PICTURE // max(picture.width, picture.height))
    legend = {
        "relief": f"Elevation from {picture.low:.6g} to {picture.high:.6g}, lit from the north-west",
        "logarithmic": f"Values from {picture.low:.6g} to {picture.high:.6g}, logarithmic ramp",
        "ramp": f"Values from {picture.low:.6g} to {picture.high:.6g}, dark to bright (2nd and 98th percentile)",
        "grey": f"Values from {picture.low:.6g} to {picture.high:.6g}",
        "classes": f"One colour per class, {picture.low:g} to {picture.high:g}",
        "colour": "Red, green and blue bands",
    }[picture.style]
    return {
        "facts": facts_shown,
        "image": f"{own}?preview=png",
        "image_size": (picture.width * enlarged, picture.height * enlarged),
        "legend": legend,
        "actions": [("Facts (gdalinfo)", access.link("gdalinfo", node.path))],
    }


def _table(access: Access, node: Node, sort: str) -> dict[str, Any]:
    actions: list[tuple[str, str]] = []
    if sort == "parquet":
        table = browse_tables.preview_parquet(node)
        actions = [
            ("Schema", access.link("schema", node.path)),
            ("As CSV", access.link("download", node.path) + "?as_csv=1"),
        ]
    else:
        table = browse_tables.preview_csv(node)
    note = f"{len(table.rows)} rows"
    if not table.complete:
        note = f"The first {len(table.rows)} rows" + (f" of {table.total}" if table.total is not None else "")
    return {"table": table, "table_note": note, "actions": actions}


def _text(node: Node) -> dict[str, Any]:
    data = os.pread(node.fd, TEXT_BYTES, 0)
    text = data.decode("utf-8-sig", "replace").replace("\0", "\ufffd")
    whole = len(data) == node.status.st_size
    if whole and node.name.endswith((".json", ".nodb", ".geojson")):
        with contextlib.suppress(ValueError, RecursionError):  # then it is shown as it stands
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return {"text": text, "text_note": None if whole else f"The first {_size(TEXT_BYTES)}"}


def _times(seconds: float) -> dict[str, str]:
    moment = datetime.fromtimestamp(seconds, UTC)
    return {"iso": moment.isoformat(timespec="seconds"), "when": moment.strftime("%Y-%m-%d %H:%M")}


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    value = float(count)
    units: Sequence[str] = ("kB", "MB", "GB", "TB")
    for unit in units:
        value /= 1000
        if value < 999.5 or unit == units[-1]:
            return f"{value:.3g} {unit}"
    raise AssertionError
