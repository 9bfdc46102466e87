"""The demo, from `python -m examples.chat` to Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.chat import serving
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.examples.demo import ROOT, Demo, window


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A running demo; each test has a room of its own."""
    with Demo(tmp_path_factory.mktemp("demo") / "log") as running:
        yield running
        assert "Traceback" not in running.output()


async def test_a_message_reaches_every_window_and_then_the_history(demo: Demo) -> None:
    async with window(demo, "lobby") as ada, window(demo, "lobby") as grace:
        assert (ada.hello["place"], ada.hello["items"]) == ("newest", [])
        message_id = await ada.say("Is anybody here?")
        for reader in (ada, grace):
            message = await reader.hear()
            assert (message["id"], message["text"]) == (message_id, "Is anybody here?")
        async with window(demo, "lobby") as late:
            assert [item["message"]["id"] for item in late.hello["items"]] == [message_id]


async def test_messages_flow_again_after_the_redis_connection_was_cut(demo: Demo) -> None:
    async with window(demo, "kitchen") as ada, window(demo, "kitchen") as grace:
        before = ada.hello["redis"]["ids"]
        assert before.keys() == {"subscriber", "commands"}
        status, answer = await demo.post("/cut", {})
        assert (status, answer["state"], answer["before"]) == (200, "up", before)
        assert answer["ids"].keys() == before.keys()
        assert not set(answer["ids"].values()) & set(before.values())
        for reader in (ada, grace):
            cut, back = await reader.get("redis"), await reader.get("redis")
            assert (cut["state"], cut["before"]) == ("cut", before)
            assert back == answer
        await ada.say("Still there?")
        for reader in (ada, grace):
            assert (await reader.hear())["text"] == "Still there?"


async def test_a_cut_can_be_held_but_not_twice_at_once(demo: Demo) -> None:
    async with window(demo, "music") as ada:
        cut = asyncio.create_task(demo.post("/cut", {"hold_seconds": 0.5}))
        assert (await ada.get("redis"))["state"] == "cut"
        assert (await demo.post("/cut", {}))[0] == 409
        status, answer = await cut
        assert (status, answer["state"]) == (200, "up")
        assert answer["after_ms"] >= 500
        await ada.say("Back.")
        assert (await ada.hear())["text"] == "Back."


async def test_what_is_said_while_the_subscriber_connection_is_down_comes_when_it_is_back(demo: Demo) -> None:
    await demo.post("/rooms", {"name": "garden"})
    async with window(demo, "garden") as ada, window(demo, "garden") as grace:
        cut = asyncio.create_task(demo.post("/cut", {"hold_seconds": 3, "only": "subscriber"}))
        assert (await ada.get("redis"))["before"].keys() == {"subscriber"}
        said = [await ada.say(f"{n}") for n in range(5)]
        await asyncio.sleep(1.5)
        said += [await ada.say(f"{n}") for n in range(5, 10)]
        assert not cut.done()
        status, answer = await cut
        assert (status, answer["state"]) == (200, "up")
        assert answer["after_ms"] >= 3000
        for reader in (ada, grace):
            assert [(await reader.hear())["id"] for _ in said] == said


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"author": "  "}, "A message needs a name."),
        ({"author": "A" * 25}, "A name has at most 24 characters."),
        ({"text": "\n"}, "A message needs some text."),
        ({"text": "x" * 501}, "A message has at most 500 characters; this one has 501."),
        ({"id": "1"}, "That is not a message"),
    ],
)
async def test_a_bad_message_is_answered_to_its_sender(
    demo: Demo, changes: dict[str, str], answer: str
) -> None:
    async with window(demo, "night-shift") as ada:
        message_id = await ada.say("Hello?", **changes)
        problem = await ada.get("error")
        assert problem["text"].startswith(answer)
        assert problem["id"] in {message_id, None}
        good_id = await ada.say("Better.")
        assert (await ada.hear())["id"] == good_id


@pytest.mark.parametrize("data", ["", "{", "[]", "null", '"\\ud800"', b"\x00\xff"])
async def test_what_is_no_message_is_answered_too(demo: Demo, data: str | bytes) -> None:
    async with window(demo, "night-shift") as ada:
        await ada.socket.send(data)
        assert (await ada.get("error"))["text"].startswith("That is not a message")


async def test_a_room_can_be_created_once(demo: Demo) -> None:
    async with window(demo, "lobby") as ada:
        assert await demo.post("/rooms", {"name": " Tea Time "}) == (201, {"name": "tea-time"})
        while "tea-time" not in [room["name"] for room in (await ada.get("rooms"))["rooms"]]:
            continue
        status, answer = await demo.post("/rooms", {"name": "tea-time"})
        assert (status, answer["detail"]) == (400, "There is a room called tea-time already.")
    async with window(demo, "tea-time") as ada:
        await ada.say("Milk?")
        assert (await ada.hear())["room"] == "tea-time"


@pytest.mark.parametrize("body", [{"name": ""}, {"name": "<b>"}, {"name": "x" * 25}, {}, []])
async def test_a_bad_room_name_is_refused(demo: Demo, body: object) -> None:
    assert (await demo.post("/rooms", body))[0] == 400


async def test_an_unknown_room_is_closed_with_a_reason(demo: Demo) -> None:
    async with connect(f"ws://{demo.address}/rooms/nowhere") as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (4404, "There is no such room.")


async def test_other_web_sites_are_kept_out(demo: Demo) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://{demo.address}/rooms/lobby", origin="http://elsewhere.example")
    assert refused.value.response.status_code == 403


async def test_a_window_that_vanishes_or_floods_harms_nobody(demo: Demo) -> None:
    async with window(demo, "lobby") as ada:
        for _ in range(5):
            lost = await connect(f"ws://{demo.address}/rooms/lobby")
            lost.transport.abort()
        async with window(demo, "lobby") as flooding:
            await flooding.socket.send("x" * 20_000)
            await flooding.socket.wait_closed()
            assert flooding.socket.close_code == 1009
        message_id = await ada.say("I am still here.")
        while (await ada.hear())["id"] != message_id:
            continue


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_everything_while_windows_are_open(tmp_path: Path, by: signal.Signals) -> None:
    with Demo(tmp_path / "log") as running:
        async with window(running, "lobby") as ada:
            assert {running.process.pid, running.valkey_pid} <= running.processes()
            assert await asyncio.to_thread(running.end, by) == 0
            await ada.socket.wait_closed()
            assert ada.socket.close_code == 1012  # "service restart": the page tries again
        running.wait_until(lambda: not running.processes())
        assert "Traceback" not in running.output()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_a_killed_demo_takes_valkey_along(tmp_path: Path) -> None:
    with Demo(tmp_path / "log") as running:
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
        running.wait_until(lambda: not running.processes())


def test_the_next_port_is_taken_if_the_first_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving.listen(0) as first:
        port = first.getsockname()[1]
        monkeypatch.setattr(serving, "DEFAULT_PORT", port)
        with serving.listen(None) as second:
            assert port < second.getsockname()[1] < port + serving.PORTS_TRIED


def test_a_port_that_was_asked_for_and_is_taken_is_an_error() -> None:
    with serving.listen(0) as first:
        port = first.getsockname()[1]
        run = subprocess.run(
            [sys.executable, "-m", "examples.chat", "--port", str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert run.returncode == 1
    assert run.stderr == f"The demo can't listen on 127.0.0.1:{port}: Address already in use\n"
