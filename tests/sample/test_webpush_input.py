"""Anything at all sent to the notification service: the right status and shape, never a failure of the program."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from conftest import PostgresServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from push_service import Browser
from test_webpush_service import ENDPOINT, RUNID, key_env, rows, run, servers

__all__ = ["key_env", "servers"]  # fixtures
pytestmark = pytest.mark.timeout(180)

GOOD = Browser().subscription(ENDPOINT)
words = [ENDPOINT, GOOD["keys"]["auth"], GOOD["keys"]["p256dh"], "https://127.0.0.1/", "https://[", "\0"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.sampled_from(words),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
# A subscription of which any part may be something else.
almost = st.fixed_dictionaries(
    {},
    optional={
        "endpoint": st.just(ENDPOINT) | anything,
        "keys": st.fixed_dictionaries(
            {},
            optional={
                "p256dh": st.just(GOOD["keys"]["p256dh"]) | anything,
                "auth": st.just(GOOD["keys"]["auth"]) | anything,
            },
        )
        | anything,
        "expirationTime": anything,
    },
)
bodies = (
    almost.map(json.dumps).map(str.encode) | anything.map(json.dumps).map(str.encode) | st.binary(max_size=80)
)
runids = st.just(RUNID) | st.text(max_size=30) | st.sampled_from(["..", "a/b", "\0", "x" * 300])
kinds = st.just("application/json") | st.sampled_from(
    ["", "text/plain", "application/json; charset=utf-16", "\xe9"]
)
requests = st.lists(
    st.tuples(st.sampled_from(["POST", "DELETE", "GET", "PUT"]), runids, kinds, bodies),
    min_size=1,
    max_size=20,
)


@settings(
    max_examples=40, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(requested=requests)
def test_nothing_sent_gets_anything_but_an_answer(
    servers: PostgresServer, requested: list[tuple[str, str, str, bytes]]
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for method, runid, kind, body in requested:
            path = f"/subscriptions/{quote(runid, safe='', errors='replace')}"
            headers = {"content-type": kind.encode("latin-1")}
            answer = await client.request(method, path, content=body, headers=headers)
            reported: dict[str, Any] = answer.json()
            if answer.status_code in (200, 201):
                assert reported == {}
                assert (method, runid) in {("POST", RUNID), ("DELETE", RUNID)}
                continue
            assert answer.status_code in (400, 404, 405, 415), (answer.status_code, reported)
            assert set(reported["error"]) <= {"message", "code", "details"}
            assert "Traceback" not in answer.text
            assert "site-packages" not in answer.text
        assert {(runid, endpoint) for runid, endpoint, *_ in rows(servers)} <= {(RUNID, ENDPOINT)}

    run(scenario)
