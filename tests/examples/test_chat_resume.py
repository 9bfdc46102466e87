"""Windows of the demo that come back: after a restart of the web server, with a cursor, without one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.chat.store import HISTORY
from websockets.exceptions import ConnectionClosed

from tests.examples.demo import Demo, texts, window


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A running demo; each test has a room of its own."""
    with Demo(tmp_path_factory.mktemp("demo") / "log") as running:
        yield running
        assert "Traceback" not in running.output()


async def room_of_its_own(demo: Demo, name: str) -> str:
    assert (await demo.post("/rooms", {"name": name}))[0] == 201
    return name


def written(first: int, last: int, total: int) -> list[str]:
    return [
        f"{number} of {total}, written while the web server was down" for number in range(first, last + 1)
    ]


async def test_every_message_carries_the_cursor_after_it(demo: Demo) -> None:
    room = await room_of_its_own(demo, "cursors")
    async with window(demo, room) as ada:
        cursors = [ada.cursor]
        for text in ("one", "two", "three"):
            await ada.say(text)
            await ada.hear()
            cursors.append(ada.cursor)
        for watched in (True, False):
            for number, cursor in enumerate(cursors):
                async with window(demo, room, after=cursor) as back:
                    assert back.hello["place"] == "resumed"
                    assert texts(back.hello["items"]) == ["one", "two", "three"][number:]
                    assert [item["cursor"] for item in back.hello["items"]] == cursors[number + 1 :]
                    assert back.cursor == cursors[-1]
            if watched:
                # The same when the channel is not subscribed.
                await ada.socket.close()


async def test_a_window_gets_what_it_missed_while_the_web_server_was_restarted(demo: Demo) -> None:
    room = await room_of_its_own(demo, "missed")
    async with window(demo, room) as ada, window(demo, room) as grace:
        await ada.say("Before.")
        for reader in (ada, grace):
            assert (await reader.hear())["text"] == "Before."
        restarting = asyncio.create_task(demo.restart(room, 3))
        with pytest.raises(ConnectionClosed):
            await ada.hear()
        assert ada.socket.close_code == 1012  # "service restart": the page tries again
        await asyncio.to_thread(demo.wait_until, demo.refuses)
        await restarting
    async with window(demo, room, after=ada.cursor) as ada, window(demo, room, after=grace.cursor) as grace:
        for reader in (ada, grace):
            assert reader.hello["place"] == "resumed"
            assert texts(reader.hello["items"]) == written(1, 3, 3)
        await grace.say("After.")
        for reader in (ada, grace):
            assert (await reader.hear())["text"] == "After."


async def test_nothing_is_missing_as_long_as_the_history_reaches_back(demo: Demo) -> None:
    room = await room_of_its_own(demo, "full")
    async with window(demo, room) as ada:
        await ada.say("Before.")
        await ada.hear()
    # "Before." is still kept.
    missed = HISTORY - 1
    await demo.restart(room, missed)
    async with window(demo, room, after=ada.cursor) as ada:
        assert texts(ada.hello["items"]) == written(1, missed, missed)


async def test_what_the_history_no_longer_has_is_a_gap_in_its_place(demo: Demo) -> None:
    room = await room_of_its_own(demo, "gap")
    async with window(demo, room) as ada:
        await ada.say("Before.")
        await ada.hear()
    total = HISTORY + 5
    await demo.restart(room, total)
    async with window(demo, room, after=ada.cursor) as ada:
        assert ada.hello["place"] == "resumed"
        assert texts(ada.hello["items"]) == ["[trimmed]", *written(6, total, total)]
        await ada.say("After.")
        assert (await ada.hear())["text"] == "After."
    # Who stops right after the gap gets what follows it, and is not told of it again.
    async with window(demo, room, after=ada.hello["items"][5]["cursor"]) as ada:
        assert texts(ada.hello["items"]) == [*written(11, total, total), "After."]
    async with window(demo, room) as late:
        assert texts(late.hello["items"]) == [*written(7, total, total), "After."]


async def test_a_new_window_gets_history_and_live_messages_without_a_seam(demo: Demo) -> None:
    room = await room_of_its_own(demo, "seam")
    said = [f"{number}" for number in range(40)]

    async def come_and_read() -> list[str]:
        async with window(demo, room) as late:
            heard = texts(late.hello["items"])
            while len(heard) < len(said):
                heard.append((await late.hear())["text"])
            return heard

    async with window(demo, room) as ada:
        readers = []
        for text in said:
            await ada.say(text)
            await ada.hear()
            readers.append(asyncio.create_task(come_and_read()))
        for heard in await asyncio.gather(*readers):
            assert heard == said


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "1",
        "2~AAAAAAAA.1-0",
        "1~AAAAAAAA.1-0",
        "1~short.1-0",
        "1~AAAAAAAA.x",
        "~",
        "x" * 5000,
        "%00é\n\ud7ff",
    ],
    ids=range(9),
)
async def test_a_cursor_that_says_nothing_is_answered_with_the_newest_messages(
    demo: Demo, cursor: str
) -> None:
    async with window(demo, "lobby") as ada:
        await ada.say(f"{len(cursor)}")
        await ada.hear()
        async with window(demo, "lobby", after=cursor) as back, window(demo, "lobby") as late:
            assert back.hello["place"] == "unknown"
            assert back.hello["items"] == late.hello["items"]
            assert texts(back.hello["items"])[-1] == f"{len(cursor)}"
            assert back.cursor == ada.cursor


async def test_the_cursor_of_another_room_says_nothing(demo: Demo) -> None:
    async with window(demo, "kitchen") as ada, window(demo, "music") as grace:
        await ada.say("Tea?")
        await ada.hear()
    async with window(demo, "kitchen", after=grace.cursor) as back:
        assert back.hello["place"] == "unknown"
        assert texts(back.hello["items"]) == ["Tea?"]


async def test_rooms_that_were_created_outlive_the_web_server(demo: Demo) -> None:
    room = await room_of_its_own(demo, "outliving")
    await demo.restart("lobby", 1)
    async with window(demo, room) as ada:
        assert room in [entry["name"] for entry in ada.hello["rooms"]]
    assert (await demo.post("/rooms", {"name": room}))[0] == 400


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"room": "nowhere", "messages": 3}, "There is no room called nowhere."),
        ({"room": "lobby", "messages": 0}, ""),
        ({"room": "lobby", "messages": 501}, ""),
        ({"room": "lobby"}, ""),
    ],
)
async def test_a_bad_restart_is_refused(demo: Demo, body: object, answer: str) -> None:
    status, problem = await demo.post("/restart", body)
    assert status == 400
    assert answer in problem["detail"]


async def test_the_web_server_is_not_restarted_while_redis_is_held_down(demo: Demo) -> None:
    async with window(demo, "night-shift") as ada:
        cut = asyncio.create_task(demo.post("/cut", {"hold_seconds": 0.5}))
        assert (await ada.get("redis"))["state"] == "cut"
        assert (await demo.post("/restart", {"room": "lobby", "messages": 3}))[0] == 409
        assert (await cut)[0] == 200


async def test_the_web_server_is_restarted_once_at_a_time(demo: Demo) -> None:
    ups = demo.output().count("up again")
    answers = await asyncio.gather(
        *(demo.post("/restart", {"room": "lobby", "messages": 1}) for _ in range(3)), return_exceptions=True
    )
    await asyncio.to_thread(demo.wait_until, lambda: demo.output().count("up again") > ups)
    assert [answer[0] for answer in answers if isinstance(answer, tuple)].count(202) == 1


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_everything_while_the_web_server_is_away(
    tmp_path: Path, by: signal.Signals
) -> None:
    with Demo(tmp_path / "log") as running:
        assert (await running.post("/restart", {"room": "lobby", "messages": 3}))[0] == 202
        await asyncio.to_thread(running.wait_until, lambda: "is down" in running.output())
        assert running.refuses()
        assert await asyncio.to_thread(running.end, by) == 0
        running.wait_until(lambda: not running.processes())
        assert "Traceback" not in running.output()
        assert "up again" not in running.output()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_everything_while_the_web_server_stops(
    tmp_path: Path, by: signal.Signals
) -> None:
    with Demo(tmp_path / "log") as running:
        async with window(running, "lobby") as ada:
            assert (await running.post("/restart", {"room": "lobby", "messages": 3}))[0] == 202
            await ada.socket.wait_closed()
            assert await asyncio.to_thread(running.end, by) == 0
        running.wait_until(lambda: not running.processes())
        assert "Traceback" not in running.output()
        assert "up again" not in running.output()
