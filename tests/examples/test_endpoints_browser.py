"""The scripts for pages in docs/endpoints.md, run by a browser as they stand there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gapless import Channels, MemoryChannelsBackend
from gapless.integrations.starlette import EventStream, allow_all, lifespan, routes
from tests.support.browser import MARKS, chromium
from tests.support.waiting import until
from tests.support.web import Web, serving

pytestmark = MARKS

PAGE = (Path(__file__).parents[2] / "docs/endpoints.md").read_text()
FOLLOW, WATCH, SOCKET = re.findall(r"^```js\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

# What a page has: the script shows events, and reloads the page after a gap. Nobody waits five seconds here.
PREPARE = """
window.shown = [];
window.show = (event) => shown.push(event);
window.reloads = 0;
window.reload = () => { reloads += 1; };
const later = window.setTimeout;
window.setTimeout = (function_, ms) => later(function_, ms / 100);
"""


class Site:
    """A web server, of which a proxy may say that it is away, and a page of a browser."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.hub = Channels(MemoryChannelsBackend(history=2), linger=60)
        self.is_away = False
        self.refused = 0

    async def events(self, request: Request) -> Response:
        if self.is_away:
            self.refused += 1
            return PlainTextResponse("Bad Gateway", 502)
        return EventStream(request, self.hub, "user:anna", retry=0.05)

    def app(self) -> Starlette:
        page = Route("/", lambda _: PlainTextResponse("a page"))
        sockets = routes(self.hub, authorize=allow_all, events_path=None)
        return Starlette(
            routes=[page, Route("/users/anna/events", self.events), *sockets], lifespan=lifespan(self.hub)
        )

    async def run(self, web: Web, script: str) -> None:
        await asyncio.to_thread(self._driver.get, web.url)
        await asyncio.to_thread(self._driver.execute_script, PREPARE + script)

    async def see(self, name: str, value: Any) -> None:
        async def is_there() -> bool:
            found = await asyncio.to_thread(self._driver.execute_script, f"return {name}")
            return bool(found == value)

        await until(is_there, f"{name} = {value}", 15)

    async def cut(self, web: Web, *missed: int) -> None:
        """Cut the connections; publish what the page misses; then the web server is there again."""
        self.is_away, before = True, self.refused
        for connection in list(web.server_state.connections):
            connection.transport.abort()  # type: ignore[union-attr]
        await until(lambda: self.refused > before, "the browser to be refused")
        for number in missed:
            await self.hub.publish(number, "user:anna")
        self.is_away = False


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    with chromium(tmp_path / "profile") as driver:
        yield Site(driver)


async def test_a_page_shows_events(site: Site) -> None:
    async with serving(site.app()) as web:
        await site.run(web, FOLLOW)
        await until(lambda: site.hub.stats.subscribers, "the page")
        await site.hub.publish(1, "user:anna")
        await site.see("shown", [1])


async def test_a_page_that_a_proxy_has_refused_comes_back_and_resumes(site: Site) -> None:
    async with serving(site.app()) as web:
        site.is_away = True
        await site.run(web, WATCH + "watch();")
        await until(lambda: site.refused, "the browser to be refused")
        site.is_away = False
        await until(lambda: site.hub.stats.subscribers, "the page")
        await site.hub.publish(1, "user:anna")
        await site.see("shown", [1])
        await site.cut(web, 2, 3)
        await site.see("shown", [1, 2, 3])


async def test_a_page_with_a_websocket_shows_events(site: Site) -> None:
    async with serving(site.app()) as web:
        await site.run(web, SOCKET)
        await until(lambda: site.hub.stats.subscribers, "the page")
        await site.hub.publish("hello", "room")
        await site.see("shown", ["hello"])
