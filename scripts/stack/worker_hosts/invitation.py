"""The file that carries a worker host's access from the main host to it, encrypted with a passphrase (age, scrypt).

Format: https://age-encryption.org/v1 with one scrypt recipient, holding JSON; `age --decrypt` reads it too. Whoever has
file and passphrase, and can reach the gateway, has the host's access: so it is good for minutes and for one `join`.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyrage

from scripts.base.errors import refuse
from scripts.base.files import replace

PRIVATE = 0o600
# Six groups of four letters: 2^119 of them, without letters that look alike.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
GROUPS, GROUP = 6, 4


@dataclass(frozen=True)
class Folder:
    """A folder that both hosts share: its path and owner on the main host, a file in it and that file's SHA-256."""

    path: str
    uid: int
    gid: int
    file: str
    sha256: str


@dataclass(frozen=True)
class Invitation:
    """All that a worker host gets. until: seconds since 1970. secrets: by id; certificate and authority are PEM."""

    id: str
    host: str
    until: float
    project: str
    gateway: str
    image: str
    revision: str
    queues: tuple[str, ...]
    uid: int
    gid: int
    folders: Mapping[str, Folder]
    settings: Mapping[str, str]
    secrets: Mapping[str, str]


def passphrase() -> str:
    """Return a new passphrase."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP)) for _ in range(GROUPS))


def write(path: Path, invitation: Invitation, phrase: str) -> None:
    """Write the invitation, for its owner alone. Raise OSError."""
    text = json.dumps(dataclasses.asdict(invitation))
    replace(path, pyrage.passphrase.encrypt(text.encode(), phrase, armored=True).decode("ascii"), PRIVATE)


def read(path: Path, phrase: str) -> Invitation:
    """Return the invitation in a file. Raise StackError (refused) for one that is not whole or another passphrase."""
    try:
        text = pyrage.passphrase.decrypt(path.read_bytes(), phrase)
        held = json.loads(text)
        folders = {name: Folder(**each) for name, each in held["folders"].items()}
        return Invitation(**{**held, "folders": folders, "queues": tuple(held["queues"])})
    except OSError as error:
        refuse(f"{path} cannot be read: {error.strerror}", "name the file that worker-invite wrote")
    except (pyrage.DecryptError, ValueError, TypeError, KeyError):
        refuse(
            f"{path} is no invitation that this passphrase opens: it was changed on the way, or the passphrase is "
            "another one",
            "copy the file again and type the passphrase as worker-invite printed it, or have a new one made",
        )
