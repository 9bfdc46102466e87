"""The demo on a server that runs already: `--redis-url`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.conftest import server_binary
from tests.examples.demo import PATIENCE_SECONDS, ROOT, Demo, texts, window
from tests.support.servers import Server


def run(redis_url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.chat", "--port", "0", "--redis-url", redis_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def test_a_window_goes_on_where_it_was_in_the_next_run(server: Server, tmp_path: Path) -> None:
    with Demo(tmp_path / "first", redis_url=server.url) as demo:
        await demo.post("/rooms", {"name": "attic"})
        async with window(demo, "attic") as ada, window(demo, "attic") as grace:
            await ada.say("Before.")
            for reader in (ada, grace):
                assert (await reader.hear())["text"] == "Before."
            await ada.say("Grace has left.")
            await ada.hear()
    with Demo(tmp_path / "second", redis_url=server.url) as demo:
        async with window(demo, "attic", after=grace.cursor) as grace:
            assert grace.hello["place"] == "resumed"
            assert texts(grace.hello["items"]) == ["Grace has left."]


async def test_two_demos_on_one_server_share_their_rooms(server: Server, tmp_path: Path) -> None:
    with (
        Demo(tmp_path / "first", redis_url=server.url) as here,
        Demo(tmp_path / "second", redis_url=server.url) as there,
    ):
        await here.post("/rooms", {"name": "attic"})
        async with window(here, "attic") as ada, window(there, "attic") as grace:
            # Each sees and cuts its own connections.
            assert not set(ada.hello["redis"]["ids"].values()) & set(grace.hello["redis"]["ids"].values())
            status, answer = await here.post("/cut", {})
            assert (status, answer["state"]) == (200, "up")
            await ada.say("Anybody over there?")
            assert (await grace.hear())["text"] == "Anybody over there?"
            assert (await ada.hear())["text"] == "Anybody over there?"
            await here.restart("attic", 3)
            assert [(await grace.hear())["author"] for _ in range(3)] == ["Worker"] * 3


async def test_a_cut_is_not_held_where_others_may_connect(server: Server, tmp_path: Path) -> None:
    with Demo(tmp_path / "log", redis_url=server.url) as demo:
        async with window(demo, "lobby") as ada:
            assert ada.hello["can_hold"] is False
        server.command("CONFIG", "RESETSTAT")
        status, answer = await demo.post("/cut", {"hold_seconds": 1})
        assert (status, answer["detail"]) == (400, "Others may use this server: a cut can't be held.")
        assert b"cmdstat_config|set" not in server.command("INFO", "commandstats")


async def test_a_user_who_may_not_see_connections_can_chat(server: Server, tmp_path: Path) -> None:
    async with Redis.from_url(server.url) as admin:
        await admin.acl_setuser(
            "guest", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"], categories=["+@all"],
            commands=["-client|list", "-client|kill", "-config"],
        )  # fmt: skip
        try:
            url = f"redis://guest:secret@127.0.0.1:{server.port}"
            with Demo(tmp_path / "log", redis_url=url) as demo:
                assert "secret" not in demo.output()
                async with window(demo, "lobby") as ada:
                    assert (ada.hello["redis"]["state"], ada.hello["redis"]["ids"]) == ("up", {})
                    status, answer = await demo.post("/cut", {})
                    assert status == 503
                    assert answer["detail"].startswith("Redis refuses: ")
                    await ada.say("I can talk.")
                    assert (await ada.hear())["text"] == "I can talk."
        finally:
            await admin.acl_deluser("guest")


async def test_windows_are_sent_away_while_the_server_is_gone_and_come_back(tmp_path: Path) -> None:
    with Server(server_binary()) as server, Demo(tmp_path / "log", redis_url=server.url) as demo:
        async with window(demo, "lobby") as ada:
            await ada.say("Before.")
            await ada.hear()
        server.kill()
        async with connect(f"ws://{demo.address}/rooms/lobby?after={ada.cursor}") as socket:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)
            assert socket.close_code == 4413
            assert socket.close_reason == "Redis is away: what was said can't be read now."
        server.restart_empty()
        async with window(demo, "lobby", after=ada.cursor) as ada:
            assert ada.hello["place"] == "resumed"
            # Live, if the server has not yet forgotten that somebody was in the room.
            gap = next(iter(ada.hello["items"]), None) or await ada.get("gap")
            assert (gap["kind"], gap["reason"]) == ("gap", "reset")
            await ada.say("After.")
            assert (await ada.hear())["text"] == "After."


async def test_a_gap_comes_live_where_messages_may_be_missing(tmp_path: Path) -> None:
    with Server(server_binary()) as server, Demo(tmp_path / "log", redis_url=server.url) as demo:
        async with window(demo, "lobby") as ada:
            await ada.say("Before.")
            await ada.hear()
            server.restart_empty()
            gap = await ada.get("gap")
            assert gap.keys() == {"kind", "reason", "lost", "cursor"}
            assert gap["reason"] == "reset"
            assert gap["cursor"] is not None
            await ada.say("After.")
            assert (await ada.hear())["text"] == "After."


def test_a_server_that_is_not_there_is_an_error() -> None:
    ended = run("redis://127.0.0.1:1")
    assert ended.returncode == 1
    assert ended.stderr.startswith("There is no Redis or Valkey at 127.0.0.1:1: ")
    assert "Traceback" not in ended.stderr


def test_a_server_that_wants_a_password_is_an_error(server: Server) -> None:
    ended = run(f"redis://nobody:secret@127.0.0.1:{server.port}")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"The server at 127.0.0.1:{server.port} does not let the demo in: ")
    assert "secret" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("url", ["localhost", "http://localhost", "redis://localhost:x"])
def test_what_is_no_url_is_an_error(url: str) -> None:
    ended = run(url)
    assert ended.returncode == 1
    assert ended.stderr.startswith("--redis-url: ")
    assert "Traceback" not in ended.stderr
