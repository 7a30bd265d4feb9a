"""The rules behind a push: addresses that may be pushed to, and how long to wait."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wepppy.microservices.webpush_watch import is_push_service, payload, retry_after


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/x", "https://localhost/", "https://redis/", "https://127.0.0.1/", "https://[::1]/",
        "https://169.254.169.254/latest", "https://fcm.googleapis.com:6379/x", "https://user@fcm.googleapis.com/x",
        "https://redis/.googleapis.com/x", "https://redis#.googleapis.com/x", "https://redis?.googleapis.com/x",
        "https://fcm.googleapis.com.redis/x", "https://notgoogleapis.com/x", "https://redis\\@fcm.googleapis.com/x",
        "https://red\nis.googleapis.com/x", "https://fcm.googleapis.com\\@redis/x", "ftp://fcm.googleapis.com/x",
        "https://fcm.googleapis.com/\u00e9", "https://fcm.googleapis.com/a b", "https://fcm.googleapis.com/\n", "",
        "https://fcm.googleapis.com/" + "a" * 2100,
    ],
)  # fmt: skip
def test_an_endpoint_that_is_no_browsers_push_service_is_refused(endpoint: str) -> None:
    assert not is_push_service(endpoint)


def test_the_push_services_of_browsers_are_accepted() -> None:
    for host in (
        "fcm.googleapis.com",
        "jmt17.google.com",
        "updates.push.services.mozilla.com",
        "web.push.apple.com",
        "wns2-by3p.notify.windows.com",
    ):
        assert is_push_service(f"https://{host}/wpush/v2/gAAAA_-b:c?token=a%20b")


@given(st.text(max_size=30))
@example("0\x1f")  # that is space to some functions and not to others
def test_any_retry_after_is_a_time_to_wait_or_nothing(value: str) -> None:
    assert retry_after(value, 1_800_000_000.0) >= 0


def test_retry_after_takes_seconds_and_dates() -> None:
    assert retry_after("120", 0.0) == 120
    assert retry_after("Thu, 01 Jan 1970 00:02:00 GMT", 60.0) == 60
    assert retry_after("Thu, 01 Jan 1970 00:02:00 GMT", 600.0) == 0
    assert retry_after("-5", 0.0) == 0


def test_a_message_fits_into_one_push_and_names_the_page() -> None:
    told = json.loads(payload("a;;omni;;b", "sample", "failed"))
    assert told["url"] == "/weppcloud/runs/a%3B%3Bomni%3B%3Bb/sample/"
    assert len(payload("x" * 255, "y" * 255, "failed")) < 3993
