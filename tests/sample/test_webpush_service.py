"""The notification service as a browser and an operator meet it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import psycopg
import pytest
import redis
from conftest import PostgresServer, RedisServer
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from push_service import UNCOMPRESSED, Browser, PushService, check_sender, decode, encode, message
from wepppy.config.run_paths import MARKER, PUBLIC_MARKER, get_wd
from wepppy.microservices import webpush, webpush_store

RUNID = "amber-creek-000001"
SCALAR = encode(bytes(range(1, 33)))
ENDPOINT = "https://fcm.googleapis.com/fcm/send/one"
Scenario = Callable[[httpx.AsyncClient], Awaitable[None]]


@pytest.fixture
def key_env(monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("VAPID_PRIVATE_KEY_FILE", "VAPID_SUBJECT", "WEBPUSH_ALLOW_INSECURE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAPID_PRIVATE_KEY", SCALAR)
    return SCALAR


@pytest.fixture
def servers(
    site: Flask, redis_env: RedisServer, postgres_env: PostgresServer, key_env: str
) -> PostgresServer:
    """All servers, with the tables as the migrations make them and one run."""
    with psycopg.connect(postgres_env.url) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO run (runid, config) VALUES (%s, 'sample')", (RUNID,))
    connection.close()
    folder = get_wd(RUNID)
    folder.mkdir(parents=True)
    for name in (MARKER, PUBLIC_MARKER):
        (folder / name).touch()
    return postgres_env


@asynccontextmanager
async def serving() -> AsyncIterator[httpx.AsyncClient]:
    """The application with its watcher, and a client for it."""
    async with webpush.lifespan(webpush.app):
        transport = httpx.ASGITransport(webpush.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://webpush") as client:
            yield client


def run(scenario: Scenario) -> None:
    async def whole() -> None:
        async with serving() as client:
            await scenario(client)

    asyncio.run(whole())


async def healthy(client: httpx.AsyncClient, status: int = 200) -> httpx.Response:
    """Wait until health has a status, for half a minute at most, and return that answer."""
    async with asyncio.timeout(30):
        while (answer := await client.get("/health")).status_code != status:
            await asyncio.sleep(0.05)
    return answer


def rows(server: PostgresServer) -> list[tuple[Any, ...]]:
    connection = psycopg.connect(server.url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT runid, endpoint, p256dh, auth FROM webpush_subscription ORDER BY id")
        found: list[tuple[Any, ...]] = cursor.fetchall()
    connection.close()
    return found


def test_a_browser_subscribes_and_unsubscribes(servers: PostgresServer) -> None:
    sent = Browser().subscription(ENDPOINT)

    async def scenario(client: httpx.AsyncClient) -> None:
        first = await client.post(f"/subscriptions/{RUNID}", json=sent)
        assert (first.status_code, first.json()) == (201, {})
        assert (await client.post(f"/subscriptions/{RUNID}", json=sent)).status_code == 200
        assert rows(servers) == [(RUNID, ENDPOINT, sent["keys"]["p256dh"], sent["keys"]["auth"])]
        for _ in range(2):
            gone = await client.request("DELETE", f"/subscriptions/{RUNID}", json={"endpoint": ENDPOINT})
            assert (gone.status_code, gone.json()) == (200, {})
        assert rows(servers) == []

    run(scenario)


def test_a_private_run_is_subscribed_to_by_who_may_read_it_and_absent_for_all_others(
    servers: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a secret that is long enough for HS256"
    monkeypatch.setenv("WEPP_AUTH_JWT_SECRETS", secret)
    (get_wd(RUNID) / PUBLIC_MARKER).unlink()
    token = jwt.encode({"aud": "rq-engine", "jti": "one", "exp": 2**33, "runid": RUNID}, secret, "HS256")
    sent = Browser().subscription(ENDPOINT)

    async def scenario(client: httpx.AsyncClient) -> None:
        private, absent = [await client.post(f"/subscriptions/{run}", json=sent) for run in (RUNID, "none")]
        assert (
            (private.status_code, private.json())
            == (absent.status_code, absent.json())
            == (404, absent.json())
        )
        assert rows(servers) == []
        client.cookies.set("wepp_browse_jwt", token)
        assert (await client.post(f"/subscriptions/{RUNID}", json=sent)).status_code == 201

    run(scenario)


def test_the_whole_service_tells_a_browser_of_the_end(
    servers: PostgresServer, redis_env: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBPUSH_ALLOW_INSECURE", "true")
    browser = Browser()
    with (
        PushService() as service,
        redis.Redis.from_url(redis_env.url(9)) as jobs,
        redis.Redis.from_url(redis_env.url(0)) as runs,
    ):

        async def scenario(client: httpx.AsyncClient) -> None:
            await healthy(client)
            sent = browser.subscription(service.endpoint("one"))
            assert (await client.post(f"/subscriptions/{RUNID}", json=sent)).status_code == 201
            runs.hset(RUNID, "rq:run_project", "a")
            jobs.hset("rq:job:a", mapping={"status": "finished"})
            async with asyncio.timeout(30):
                while not service.pushes:
                    await asyncio.sleep(0.02)
            public_key = (await client.get("/vapid-public-key")).json()["public_key"]
            check_sender(service.pushes[0], service.origin, public_key, time.time())

        run(scenario)
        assert message(browser, service.pushes[0])["runid"] == RUNID


def test_the_public_key_is_that_of_the_secret(servers: PostgresServer) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        reported = (await client.get("/vapid-public-key")).json()["public_key"]
        private = ec.derive_private_key(int.from_bytes(decode(SCALAR), "big"), ec.SECP256R1())
        assert decode(reported) == private.public_key().public_bytes(*UNCOMPRESSED)

    run(scenario)


def test_a_subscription_to_no_run_is_not_found(servers: PostgresServer) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for runid in ("other", "a%00b", "x" * 300, "%0a", "%ff"):
            answer = await client.post(f"/subscriptions/{runid}", json=Browser().subscription(ENDPOINT))
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "run_not_found"), runid

    run(scenario)


def test_everything_wrong_with_a_subscription_is_named(servers: PostgresServer) -> None:
    good = Browser().subscription(ENDPOINT)

    async def scenario(client: httpx.AsyncClient) -> None:
        cases: list[tuple[Any, list[str]]] = [
            ({}, ["endpoint", "keys"]),
            (
                {**good, "endpoint": "https://push.example.org/", "keys": {}},
                ["endpoint", "keys.p256dh", "keys.auth"],
            ),
            ({**good, "endpoint": 7}, ["endpoint"]),
            ({**good, "keys": "none"}, ["keys"]),
            ({**good, "keys": {**good["keys"], "p256dh": encode(b"\x04" + b"\x01" * 64)}}, ["keys.p256dh"]),
            ({**good, "keys": {**good["keys"], "auth": "%%%"}}, ["keys.auth"]),
            ({**good, "keys": {**good["keys"], "auth": "\u00e9" * 22}}, ["keys.auth"]),
            ([], ["body"]),
        ]
        for body, faults in cases:
            answer = await client.post(f"/subscriptions/{RUNID}", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "validation_error"), body
            assert [fault["path"] for fault in answer.json()["errors"]] == faults
        assert rows(servers) == []

    run(scenario)


def test_other_bodies_and_methods_are_refused(servers: PostgresServer) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        url, json_type = f"/subscriptions/{RUNID}", {"content-type": "application/json"}
        for answer, status, code in (
            (await client.post(url, data={"endpoint": ENDPOINT}), 415, "unsupported_media_type"),
            (await client.post(url, content=b"{", headers=json_type), 400, "validation_error"),
            (await client.post(url, content=b"\xff\xfe", headers=json_type), 400, "validation_error"),
            (await client.post(url, content=b"[" * 8000, headers=json_type), 400, "validation_error"),
            (await client.request("DELETE", url, json={}), 400, "validation_error"),
            (await client.request("DELETE", url, json={"endpoint": "\u0000"}), 400, "validation_error"),
            (await client.get(url), 405, "method_not_allowed"),
            (await client.get("/nothing"), 404, "not_found"),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)

    run(scenario)


def test_a_run_takes_only_so_many_subscriptions(
    servers: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webpush_store, "MAX_PER_RUN", 2)

    async def scenario(client: httpx.AsyncClient) -> None:
        statuses = []
        for name in ("one", "two", "three", "one"):
            body = Browser().subscription(f"https://fcm.googleapis.com/{name}")
            statuses.append((await client.post(f"/subscriptions/{RUNID}", json=body)).status_code)
        assert statuses == [201, 201, 409, 200]

    run(scenario)


def test_health_tells_what_is_missing_and_recovers(servers: PostgresServer, redis_env: RedisServer) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await healthy(client)).text == "OK"
        await asyncio.to_thread(redis_env.stop)
        try:
            assert (await healthy(client, 503)).text == "redis does not answer"
        finally:
            await asyncio.to_thread(redis_env.start)
        await healthy(client)
        await asyncio.to_thread(servers.stop)
        try:
            assert (await healthy(client, 503)).text == "postgres does not answer"
            answer = await client.post(f"/subscriptions/{RUNID}", json=Browser().subscription(ENDPOINT))
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        finally:
            await asyncio.to_thread(servers.start)
        await healthy(client)

    run(scenario)


def test_a_subject_that_push_services_refuse_is_told(key_env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAPID_SUBJECT", "the operator")

    async def scenario(client: httpx.AsyncClient) -> None:
        health = await client.get("/health")
        assert (health.status_code, health.text.partition(" ")[0]) == (503, "VAPID_SUBJECT")

    run(scenario)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "VAPID_PRIVATE_KEY_FILE is not set"),
        ("too-short", "VAPID_PRIVATE_KEY is not a P-256 private key"),
        (encode(b"\0" * 32), "VAPID_PRIVATE_KEY is not a P-256 private key"),
        (encode(b"\xff" * 32), "VAPID_PRIVATE_KEY is not a P-256 private key"),
    ],
)
def test_without_a_usable_key_the_service_says_so_and_takes_no_subscription(
    key_env: str, monkeypatch: pytest.MonkeyPatch, value: str | None, reason: str
) -> None:
    if value is None:
        monkeypatch.delenv("VAPID_PRIVATE_KEY")
    else:
        monkeypatch.setenv("VAPID_PRIVATE_KEY", value)

    async def scenario(client: httpx.AsyncClient) -> None:
        health = await client.get("/health")
        assert health.status_code == 503
        assert health.text.startswith(reason)
        assert value is None or value not in health.text
        for answer in (
            await client.get("/vapid-public-key"),
            await client.post(f"/subscriptions/{RUNID}", json=Browser().subscription(ENDPOINT)),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")

    run(scenario)
