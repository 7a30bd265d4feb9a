"""The message to whoever monitors the backups: one POST of a small JSON document after each success and each failure.

It never fails or holds up what it reports, and its address, which may hold a token, is in no log.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib import error, request
from urllib.parse import urlsplit

from wepp_backup.app import App
from wepp_backup.catalog import as_json
from wepp_backup.events import Reporter

PAUSES = (1.0, 5.0, 30.0)  # s, between the attempts
TIMEOUT = 5.0  # s


def send(app: App, event: str, *, ok: bool, by_hand: bool, **found: Any) -> None:
    """Post a message (event: backup or drill; what is empty is left out), and again after pauses if nobody takes it.

    by_hand: after the command's answer, and not for long; else in a thread that nothing waits for.
    """
    fields = {"event": event, "database": app.settings.database, "time": datetime.now(UTC), **found}
    message = {"ok": ok, **{name: as_json(value) for name, value in fields.items() if value}}
    address, file = app.settings.hook_url, app.settings.hook_url_file
    try:
        address = Path(file).read_text(encoding="utf-8").strip() if file else address
    except OSError as problem:
        app.report.message(f"nobody is notified, BACKUP_HOOK_URL_FILE cannot be read: {problem}")
        return
    if by_hand:
        app.cleanup.callback(post, address, message, app.report, PAUSES[:-1])
    else:
        threading.Thread(target=post, args=(address, message, app.report), daemon=True).start()


def post(address: str, message: dict[str, Any], report: Reporter, pauses: Sequence[float] = PAUSES) -> None:
    """Post the message; log it when it is given up. An address "" is nobody."""
    why = _post(address, message) if address else ""
    for pause in pauses:
        if why:
            time.sleep(pause)
            why = _post(address, message)
    if why:
        report.message(f"BACKUP_HOOK_URL was not told: {why}")


def _post(address: str, message: dict[str, Any]) -> str:
    """Return why nobody took it, "" when somebody did; the library's own words may quote the address."""
    try:
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
            return "it is not an address (http:// or https://)"
        sent = request.Request(address, json.dumps(message).encode(), {"Content-Type": "application/json"})  # noqa: S310
        with request.urlopen(sent, timeout=TIMEOUT) as answer:  # noqa: S310
            status = int(answer.status)
    except error.HTTPError as problem:
        status = problem.code
    except OSError as problem:
        reason = getattr(problem, "reason", problem)
        return (reason.strerror if isinstance(reason, OSError) else None) or type(reason).__name__
    except Exception as problem:  # http.client has several, with the address in their words
        return f"no HTTP is spoken there ({type(problem).__name__})"
    return "" if status < HTTPStatus.MULTIPLE_CHOICES else f"it answered {status}"
