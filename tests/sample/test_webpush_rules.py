"""The rules behind a push: keys, addresses that may be pushed to, and how long to wait."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from push_service import UNCOMPRESSED, decode, encode
from wepppy.microservices import webpush
from wepppy.microservices.webpush_address import (
    AddressRefusedError,
    PublicTransport,
    endpoint_fault,
    is_public,
)
from wepppy.microservices.webpush_keys import VapidKey, load_key, parse_private_key
from wepppy.microservices.webpush_push import retry_after, topic

SCALAR = encode(bytes(range(1, 33)))
ENDPOINT = "https://push.example.org/send/one"


def test_a_key_may_be_the_number_or_pem_and_come_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = ec.derive_private_key(int.from_bytes(decode(SCALAR), "big"), ec.SECP256R1())
    for shape in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        pem = private.private_bytes(serialization.Encoding.PEM, shape, serialization.NoEncryption()).decode()
        for text in (pem, pem.replace("\n", "\\n"), SCALAR, SCALAR + "="):
            (tmp_path / "key").write_text(text + "\n")
            monkeypatch.setenv("VAPID_PRIVATE_KEY_FILE", str(tmp_path / "key"))
            assert decode(load_key().public_key) == private.public_key().public_bytes(*UNCOMPRESSED)
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(RuntimeError, match="not a P-256 private key"):
        parse_private_key(other.decode())


def test_a_token_is_used_again_for_its_service_and_renewed_in_time() -> None:
    now = [1_000_000.0]
    key = VapidKey(parse_private_key(SCALAR), None, clock=lambda: now[0])
    first = key.authorization("https://push.example.org/a")
    assert key.authorization("https://push.example.org/b") == first
    assert key.authorization("https://other.example.org/a") != first
    now[0] += 7 * 3600
    assert key.authorization("https://push.example.org/a") != first


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://push.example.org/", "https://localhost/", "https://redis/", "https://127.0.0.1/", "https://10.0.0.7/x",
        "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest", "https://push.example.org:6379/",
        "https://user@push.example.org/", "https://push.example.org/#part", "ftp://push.example.org/", "https:///x",
        "https://[::1", "https://a b.org/", "https://push.example.org/\u00e9", "", "https://x.org/" + "a" * 2100,
        "https://push.example.org:99999/", "https://push.example.org\\@redis/", "https://[64:ff9b::a00:1]/",
    ],
)  # fmt: skip
def test_an_endpoint_that_leads_into_our_own_network_is_refused(endpoint: str) -> None:
    assert endpoint_fault(endpoint, insecure=False)


def test_the_push_services_of_browsers_are_accepted() -> None:
    for host in (
        "fcm.googleapis.com",
        "updates.push.services.mozilla.com",
        "web.push.apple.com",
        "wns2-by3p.notify.windows.com",
    ):
        assert endpoint_fault(f"https://{host}/wpush/v2/gAAAA_-b:c?token=a%20b", insecure=False) is None


@given(st.text(max_size=60) | st.text(max_size=40).map("https://".__add__))
def test_any_endpoint_gets_a_verdict(endpoint: str) -> None:
    for insecure in (False, True):
        fault = endpoint_fault(endpoint, insecure=insecure)
        assert fault is None or fault.startswith(("must", "is"))


@given(st.ip_addresses())
def test_no_private_address_counts_as_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    ):
        assert not is_public(address)


@pytest.mark.parametrize(
    ("addresses", "allowed"),
    [(["93.184.215.14"], True), (["10.0.0.1"], False), (["93.184.215.14", "127.0.0.1"], False), (["::1"], False),
     (["::ffff:192.168.1.1"], False), (["fe80::1%eth0"], False)],
)  # fmt: skip
def test_a_connection_goes_only_to_the_address_that_was_checked(addresses: list[str], allowed: bool) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201)

    async def scenario() -> None:
        async def resolve(*args: object, **options: object) -> list[tuple[object, ...]]:
            return [(0, 0, 0, "", (address, 443)) for address in addresses]

        asyncio.get_running_loop().getaddrinfo = resolve  # type: ignore[method-assign, assignment]
        async with httpx.AsyncClient(transport=PublicTransport(httpx.MockTransport(answer))) as client:
            if not allowed:
                with pytest.raises(AddressRefusedError):
                    await client.post(ENDPOINT)
                return
            await client.post(ENDPOINT)

    asyncio.run(scenario())
    if allowed:
        [request] = seen
        assert request.url.host == addresses[0]
        assert request.headers["host"] == "push.example.org"
        assert request.extensions["sni_hostname"] == "push.example.org"
    else:
        assert seen == []


@given(st.text(max_size=30) | st.none())
def test_any_retry_after_is_a_time_to_wait_or_nothing(value: str | None) -> None:
    seconds = retry_after(value, 1_800_000_000.0)
    assert seconds is None or seconds >= 0


def test_retry_after_takes_seconds_and_dates() -> None:
    assert retry_after("120", 0.0) == 120
    assert retry_after("Thu, 01 Jan 1970 00:02:00 GMT", 60.0) == 60
    assert retry_after("Thu, 01 Jan 1970 00:02:00 GMT", 600.0) == 0
    assert retry_after("-5", 0.0) is None


@given(st.text(min_size=1, max_size=255))
def test_a_topic_fits_the_protocol_for_any_run(runid: str) -> None:
    text = topic(runid)
    assert len(text) <= 32
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_message_fits_into_one_push_and_names_the_page() -> None:
    told = json.loads(webpush.payload("a;;omni;;b", "sample", "failed"))
    assert told["url"] == "/weppcloud/runs/a%3B%3Bomni%3B%3Bb/sample/"
    assert len(webpush.payload("x" * 255, "y" * 255, "failed")) < 3993
