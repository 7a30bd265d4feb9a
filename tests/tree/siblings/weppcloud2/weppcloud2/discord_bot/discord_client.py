"""Tell the operators' chat; the token is read when this is imported, from the one place where it may be."""

from __future__ import annotations

import logging
from pathlib import Path

TOKEN = Path("/workdir/weppcloud2/weppcloud2/discord_bot/.bot_token").read_text(encoding="utf-8").strip()
log = logging.getLogger(__name__)


def send_discord_message(text: str) -> bool:
    """Log a message for the chat; return whether there is a token to send it with."""
    log.info("to the chat: %s", text)
    return bool(TOKEN)
