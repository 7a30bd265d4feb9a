"""Marks of this program on databases."""

from __future__ import annotations

import pytest
from wepp_backup.markers import KEPT, STAGING, Marker, parse

SINCE = "2026-11-29T03:10:00+00:00"


@pytest.mark.parametrize(
    "marker",
    [
        Marker(STAGING, "wepppy", made=SINCE),
        Marker(
            KEPT,
            'it\'s "odd" \\ ünï\n\N{GRINNING FACE}',
            "replaced by a restore",
            SINCE,
            "the owner's own comment",
        ),
        Marker(KEPT, "wepppy", comment='wepp-backup {"kind": "kept"}'),
    ],
)
def test_a_marker_is_read_as_it_was_written(marker: Marker) -> None:
    assert parse(marker.text()) == marker
    assert marker.text().isascii()


@pytest.mark.parametrize(
    "comment",
    [None, "", "the live database", "wepp-backup", "wepp-backup {", "wepp-backup []", 'wepp-backup {"kind": "staging"}',
     " wepp-backup {}"],
)  # fmt: skip
def test_a_comment_of_somebody_else_is_no_marker(comment: str | None) -> None:
    assert parse(comment) is None
