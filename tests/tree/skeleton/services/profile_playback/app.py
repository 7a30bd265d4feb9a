"""Plays recorded requests against the site."""

from __future__ import annotations

import os

import requests
from fastapi import FastAPI
from pydantic import BaseModel
from wepppy.config.secrets import get_secret

app = FastAPI(title="Profile playback")
BASE = os.environ.get("PROFILE_PLAYBACK_BASE_URL") or "http://weppcloud:8000/weppcloud"


class Profile(BaseModel):
    """Paths to ask for, in order."""

    paths: list[str]


@app.get("/health")
def health() -> dict[str, object]:
    """Say that the process answers, and whether it could log in."""
    return {"status": "ok", "can_log_in": get_secret("ADMIN_PASSWORD") is not None}


@app.post("/run")
def run(profile: Profile) -> list[dict[str, object]]:
    """Ask for each path; answer its status and how long it took."""
    answers = [requests.get(f"{BASE}{path}", timeout=60, allow_redirects=False) for path in profile.paths]
    return [
        {"url": each.url, "status": each.status_code, "seconds": each.elapsed.total_seconds()}
        for each in answers
    ]
