"""Set-ups that several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.rotating import Rotating


@pytest.fixture
def rotating(tmp_path: Path) -> Rotating:
    return Rotating(tmp_path)
