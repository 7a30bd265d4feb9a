"""The gateway of worker hosts: who gets through to the stores, over real TLS with the stack's own certificates."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.engine.compose import Compose
from scripts.prepare import worker_authority
from tests.unit.fakes import FakeRunner
from tests.unit.stack_script import load

gateway: Any = load("gateway")


class Hosts:
    """A stack's authority, and what hosts got of it."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        (root / ".env").write_text("UID=1000\n")
        self.compose = Compose(root, FakeRunner(), environment={})
        worker_authority.ensure(self.compose)
        self.secrets = self.compose.secrets_dir
        self.access = self.compose.data_dir / worker_authority.FOLDER
        self.now = 1000.0

    def issue(self, name: str) -> Path:
        """A new certificate of a host, as a file; the gateway knows it for a minute from now."""
        text, fingerprint = worker_authority.issue(self.secrets, name)
        path = self.secrets / f"{name}.pem"
        path.write_text(text)
        self.write(name, certificate=fingerprint, until=self.now + 60)
        return path

    def write(self, name: str, **changes: Any) -> None:
        path = self.access / f"{name}.json"
        held = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(held | changes))

    def context(self, role: str, certificate: Path, purposes: list[str]) -> ssl.SSLContext:
        gateway.AUTHORITY = str(self.secrets / worker_authority.AUTHORITY)
        gateway.CERTIFICATES = {role: str(certificate)}
        made: ssl.SSLContext = gateway.context_of(role, purposes)
        return made

    def purpose(self, name: str, purpose: str) -> ssl.SSLContext:
        return self.context("connect", self.secrets / f"{name}.pem", [purpose])

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[str, int]]:
        """The main host's gateway, at its address, before a store that answers in capitals."""

        async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
            writer.close()

        store = await asyncio.start_server(shout, "127.0.0.1", 0)
        port = free_port()
        context = self.context(
            "serve", self.secrets / worker_authority.GATEWAY, [gateway.QUESTIONS, "redis", "postgresql"]
        )
        access = gateway.Access(self.access, lambda: self.now)
        target = ("127.0.0.1", store.sockets[0].getsockname()[1])
        server = gateway.Server(context, access, {"redis": target, "postgresql": target})
        running = asyncio.create_task(server.run("127.0.0.1", port))
        try:
            await until_open(port)
            yield ("127.0.0.1", port)
        finally:
            running.cancel()
            store.close()

    async def ask(self, name: str, address: tuple[str, int], question: str = "look") -> dict[str, Any]:
        answer: dict[str, Any] = await gateway.ask(self.purpose(name, gateway.QUESTIONS), address, question)
        return answer

    async def say(self, name: str, address: tuple[str, int], purpose: str = "redis") -> bytes:
        """What the store answers to `hello`; nothing where the gateway does not let it through."""
        reader, writer = await gateway.reach(self.purpose(name, purpose), address)
        try:
            writer.write(b"hello\n")
            return bytes(await asyncio.wait_for(reader.readline(), 10))
        except OSError:
            return b""
        finally:
            writer.close()


async def hear(context: ssl.SSLContext, address: tuple[str, int]) -> None:
    """Fails unless the store answers."""
    reader, writer = await gateway.reach(context, address)
    writer.write(b"hello\n")
    await reader.readexactly(1)


def free_port() -> int:
    from scripts.base.host import free_port_numbers

    return int(free_port_numbers(1)[0])


async def until_open(port: int) -> None:
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
    raise AssertionError("the gateway does not listen")


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path / "stack")


def test_a_host_gets_to_both_stores_once_it_has_joined(hosts: Hosts) -> None:
    async def scenario() -> None:
        hosts.issue("wepp2")
        async with hosts.serving() as address:
            assert await hosts.say("wepp2", address) == b""
            assert (await hosts.ask("wepp2", address)) == {"now": 1000.0, "joined": None}
            assert (await hosts.ask("wepp2", address, "join")) == {"now": 1000.0, "joined": None}
            assert await hosts.say("wepp2", address) == b"HELLO\n"
            assert await hosts.say("wepp2", address, "postgresql") == b"HELLO\n"

    asyncio.run(scenario())


def test_an_invitation_is_good_for_its_time_and_for_one_join(hosts: Hosts) -> None:
    async def scenario() -> None:
        hosts.issue("wepp2")
        async with hosts.serving() as address:
            hosts.now += 61
            with pytest.raises(ConnectionRefusedError):
                await hosts.ask("wepp2", address)
            hosts.now -= 2
            await hosts.ask("wepp2", address, "join")
            hosts.now += 1000
            assert (await hosts.ask("wepp2", address, "join"))["joined"] == 1059.0

    asyncio.run(scenario())


@pytest.mark.parametrize("taken", ["file", "certificate"])
def test_a_host_whose_access_is_taken_away_loses_what_it_has_open(hosts: Hosts, taken: str) -> None:
    async def scenario() -> None:
        hosts.issue("wepp2")
        async with hosts.serving() as address:
            await hosts.ask("wepp2", address, "join")
            reader, writer = await gateway.reach(hosts.purpose("wepp2", "redis"), address)
            writer.write(b"hello\n")
            assert await reader.readline() == b"HELLO\n"
            if taken == "file":
                (hosts.access / "wepp2.json").unlink()
            else:
                # Another invitation took its place.
                hosts.write("wepp2", certificate="0" * 64)
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(1), 10)
            assert await hosts.say("wepp2", address) == b""

    asyncio.run(scenario())


def test_a_host_that_leaves_is_not_let_in_again(hosts: Hosts) -> None:
    async def scenario() -> None:
        hosts.issue("wepp2")
        async with hosts.serving() as address:
            await hosts.ask("wepp2", address, "join")
            await hosts.ask("wepp2", address, "leave")
            assert not (hosts.access / "wepp2.json").exists()
            with pytest.raises(ConnectionRefusedError):
                await hosts.ask("wepp2", address)

    asyncio.run(scenario())


def test_nobody_without_a_certificate_of_this_authority_is_heard(hosts: Hosts, tmp_path: Path) -> None:
    other = Hosts(tmp_path / "other")

    async def scenario() -> None:
        hosts.issue("wepp2")
        other.issue("wepp2")
        async with hosts.serving() as address:
            await hosts.ask("wepp2", address, "join")
            bare = ssl.create_default_context(cafile=str(hosts.secrets / worker_authority.AUTHORITY))
            bare.set_alpn_protocols(["redis"])
            stranger = hosts.context("connect", other.secrets / "wepp2.pem", ["redis"])
            for context in (bare, stranger):
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    await hear(context, address)
            # Nor is another stack's gateway taken for this one.
            with pytest.raises(ssl.SSLCertVerificationError):
                await other.ask("wepp2", address)

    asyncio.run(scenario())


def test_a_hosts_certificate_does_not_pass_for_the_gateways(hosts: Hosts) -> None:
    async def scenario() -> None:
        certificate = hosts.issue(gateway.SERVER_NAME)
        (hosts.secrets / worker_authority.GATEWAY).write_text(certificate.read_text())
        hosts.issue("wepp2")
        async with hosts.serving() as address:
            with pytest.raises(ssl.SSLCertVerificationError):
                await hosts.ask("wepp2", address)

    asyncio.run(scenario())
