"""The summary of the users' manual; its static files are served by the proxy."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, abort, render_template

usersum_bp = Blueprint("usersum", __name__, url_prefix="/usersum")
PAGES = Path(__file__).resolve().parent / "pages"


@usersum_bp.get("/")
@usersum_bp.get("/<name>")
def page(name: str = "index") -> str:
    """Show one page of the manual."""
    file = PAGES / f"{Path(name).name}.txt"
    if not file.is_file():
        abort(404, f"The manual has no page {name}")
    return render_template("usersum.htm", title=name, text=file.read_text(encoding="utf-8"))
