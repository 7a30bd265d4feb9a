"""One `compose-up` in a checkout of a test's own, with everything that it talks to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from scripts.base.console import Console
from scripts.base.errors import StackError
from scripts.database import recovery
from scripts.engine.compose import Compose
from scripts.engine.proof import Reply
from scripts.stack.up import Options, Up
from tests.unit.fakes import Checkout, FakeClock, FakeHost, Screen

ANSWERS = {"/status/health": "OK", "/met/health": '"OK"'}


class Attempt:
    """One `compose-up` in a checkout, with everything it talks to."""

    def __init__(self, checkout: Checkout, options: Options | None = None, *, as_json: bool = False) -> None:
        self.checkout = checkout
        self.screen = Screen(as_json=as_json)
        self.machine = FakeHost()
        self.clock = FakeClock()
        self.options = options or Options()
        self.answers = dict(ANSWERS)
        self.base_images = 0
        self.profiles: tuple[str, ...] = ()
        self.choose_images: Callable[[], None] = lambda: None

    def run(self) -> None:
        def fetching(proxy: tuple[str, int], path: str, cookies: Mapping[str, str], seconds: float) -> Reply:
            assert proxy == ("127.0.0.1", 8080)
            return Reply(200, body=self.answers[path])

        def images(compose: Compose, console: Console) -> None:
            del compose, console
            self.base_images += 1
            self.choose_images()

        Up(
            self.checkout.compose(*self.profiles),
            self.screen.console,
            self.options,
            clock=self.clock,
            host=self.machine,
            fetching=fetching,
            images=images,
            recover=recovery.finish,
        ).run()

    def fails(self) -> StackError:
        with pytest.raises(StackError) as caught:
            self.run()
        return caught.value

    def streamed(self, word: str) -> list[list[str]]:
        return [argv for argv in self.checkout.runner.commands() if word in argv]
