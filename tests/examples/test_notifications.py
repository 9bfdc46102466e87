"""The example of docs/endpoints.md and a worker without a web framework, as processes of their own."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.support.servers import Server
from tests.support.web import ROOT, application, events, listening

APP = "examples.fastapi_notifications:app"


async def work(server: Server, user: str, pages: int) -> None:
    """Run the worker to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "examples.worker", user, str(pages),
        cwd=ROOT, env=os.environ | {"REDIS_URL": server.url}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    assert output.decode() == f"{pages + 1} published, 0 failed\n"


def report(pages: int) -> list[str]:
    """Return what the worker publishes."""
    return [f"a report of {pages} pages", *(f"page {page} of {pages}" for page in range(1, pages + 1))]


async def test_a_client_gets_what_a_worker_publishes_and_what_it_has_missed(server: Server) -> None:
    async with application(APP, server) as (_, address):
        url = f"http://{address}/users/anna/events"
        async with listening(url) as source:
            await work(server, "bert", 1)
            await work(server, "anna", 200)
            seen = await events(source, 201)
        assert [event.json()["text"] for event in seen] == report(200)

        await work(server, "anna", 3)
        async with listening(url, last_event_id=seen[-1].id) as source:
            await work(server, "anna", 1)
            rest = await events(source, 6)
        assert [event.json()["text"] for event in rest] == [*report(3), *report(1)]
        assert not {event.id for event in seen} & {event.id for event in rest}
