"""The example of docs/endpoints.md, and the `EventSource` of a browser."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.examples.test_notifications import APP, report, work
from tests.support.browser import MARKS, chromium
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import application

pytestmark = MARKS

LISTEN = """
window.texts = [];
window.opened = 0;
window.source = new EventSource("/users/anna/events");
source.onopen = () => { opened += 1; };
source.onmessage = (event) => { texts.push(JSON.parse(event.data).text); };
source.addEventListener("gap", (event) => { texts.push(event.data); });
"""

# It comes back 2 s after a connection was lost, and up to 10 s after a server has said that it stops.
BACK_SECONDS = 40


class Page:
    """One that listens; the loop runs on while the browser is asked."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def open(self, url: str) -> None:
        """Listen, and get one event."""
        # Of the same origin, so that the browser lets its scripts connect.
        await asyncio.to_thread(self._driver.get, f"{url}/openapi.json")
        await asyncio.to_thread(self._driver.execute_script, LISTEN)
        await self.wait_for("opened", 1)
        await notify(url, "before")
        await self.wait_for("texts", ["before"])

    async def get(self, name: str) -> Any:
        return await asyncio.to_thread(self._driver.execute_script, f"return {name}")

    async def wait_for(self, name: str, value: Any, seconds: float = 15) -> None:
        async def is_there() -> bool:
            return bool(await self.get(name) == value)

        await until(is_there, f"{name} = {value}", seconds)


async def notify(url: str, text: str) -> None:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        response = await client.post(f"{url}/users/anna/notifications", params={"text": text})
        assert response.status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_browser_comes_back_by_itself_and_gets_what_it_has_missed_once(
    server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    with chromium(tmp_path / "profile") as driver:
        page = Page(driver)
        async with application(APP, server) as (process, address):
            await page.open(f"http://{address}")
            process.send_signal(number)
            async with asyncio.timeout(15):
                await process.wait()
        await page.wait_for("source.readyState == EventSource.CONNECTING", value=True)

        await work(server, "anna", 3)
        assert await page.get("texts") == ["before"]

        async with application(APP, server, port=int(address.rpartition(":")[2])):
            await page.wait_for("opened", 2, BACK_SECONDS)
            await notify(f"http://{address}", "after")
            await page.wait_for("texts.at(-1)", "after")
            assert await page.get("texts") == ["before", *report(3), "after"]


async def test_a_browser_that_comes_back_while_the_broker_is_away_comes_back_again(
    own_server: Server, tmp_path: Path
) -> None:
    with chromium(tmp_path / "profile") as driver:
        page = Page(driver)
        async with application(APP, own_server) as (process, address):
            await page.open(f"http://{address}")
            process.kill()
            await process.wait()
        await work(own_server, "anna", 3)

        own_server.pause()
        async with application(APP, own_server, port=int(address.rpartition(":")[2])) as (process, _):
            assert process.stderr is not None
            async with asyncio.timeout(BACK_SECONDS):
                while b"no event stream" not in await process.stderr.readline():
                    pass
            own_server.resume()
            await page.wait_for("texts", ["before", *report(3)], BACK_SECONDS)
