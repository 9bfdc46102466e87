"""The examples of the README, run as they stand."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from litestar.testing import TestClient

from tests.support.servers import Server

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"


async def test_plain_asyncio_prints_what_the_readme_says(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    from examples.plain_asyncio import main

    await main(server.url)
    output = capsys.readouterr().out
    assert output == "weather: sunny\nnews: hello\nweather: hello\n[b'sunny', b'hello']\n"
    assert f"```\n{output}```" in README.read_text()


def test_the_migrated_litestar_application_sends_history_and_live_events(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", server.url)
    import examples.litestar_migration as example

    example = importlib.reload(example)
    with TestClient(example.app) as client:
        with client.websocket_connect("/news") as socket:
            example.channels.publish("live", "news")
            assert socket.receive_text(timeout=5) == "live"
        with client.websocket_connect("/news") as socket:
            assert socket.receive_text(timeout=5) == "live"


async def test_the_hub_prints_what_its_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    from examples.hub import main

    await main()
    assert f"```\n{capsys.readouterr().out}```" in (DOCS / "hub.md").read_text()


async def test_the_tests_of_an_application_pass() -> None:
    import examples.testing_an_application as example

    await example.test_the_customer_is_told()
    await example.test_a_browser_that_comes_back_gets_what_it_missed()
