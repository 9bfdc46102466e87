"""What windows may send, and the rooms."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import get_args

import pytest
from examples.chat.messages import RefusedError, read_draft, read_room_name
from examples.chat.rooms import ROOMS_LIMIT, Rooms
from redis.asyncio import Redis

from gapless._core.event import GapReason
from tests.examples.demo import ROOT
from tests.support.servers import Server

ID = "0123456789abcdef" * 2


class Screen:
    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []

    def put_nowait(self, item: bytes) -> bool:
        self.events.append(json.loads(item))
        return True


def test_a_draft_loses_the_white_space_around_it() -> None:
    draft = read_draft(json.dumps({"id": ID, "author": " Ada ", "text": "\n two\nlines \n"}))
    assert (draft.id, draft.author, draft.text) == (ID, "Ada", "two\nlines")


def test_a_refused_draft_is_named_by_its_id() -> None:
    with pytest.raises(RefusedError) as refused:
        read_draft(json.dumps({"id": ID, "author": "", "text": "hello"}))
    assert refused.value.message_id == ID


@pytest.mark.parametrize("bad", [ID + "\n", ID.upper(), ID[1:], ""])
def test_an_id_is_32_lower_case_hexadecimal_digits(bad: str) -> None:
    with pytest.raises(RefusedError, match="not a message"):
        read_draft(json.dumps({"id": bad, "author": "Ada", "text": "hello"}))


@pytest.mark.parametrize(
    ("given", "name"), [("lobby", "lobby"), ("  Tea  Time ", "tea-time"), ("Café-3", "café-3")]
)
def test_a_room_name_is_brought_into_one_form(given: str, name: str) -> None:
    assert read_room_name(given) == name


@pytest.mark.parametrize("bad", ["", " ", "-", "-tea", "tea/time", "tea_time", "..", "x" * 25])
def test_a_bad_room_name_is_refused(bad: str) -> None:
    with pytest.raises(RefusedError):
        read_room_name(bad)


def test_the_page_has_words_for_every_reason_of_a_gap() -> None:
    words = (ROOT / "examples/chat/page/gaps.js").read_text()
    assert set(re.findall(r"^  (\w+): \(\) =>", words, re.MULTILINE)) == set(get_args(GapReason))


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as client:
        yield client


async def test_every_window_sees_the_others_come_and_go(redis: Redis) -> None:
    rooms, first, second = Rooms(redis, ["lobby", "kitchen"]), Screen(), Screen()
    with rooms.entered("lobby", first):
        with rooms.entered("kitchen", second):
            assert [room.windows for room in rooms.overview()] == [1, 1]
        assert [room.windows for room in rooms.overview()] == [1, 0]
    assert [[room["windows"] for room in event["rooms"]] for event in first.events] == [
        [1, 0],
        [1, 1],
        [1, 0],
    ]
    assert len(second.events) == 1


async def test_the_number_of_rooms_is_bounded(redis: Redis) -> None:
    rooms = Rooms(redis, ["lobby"])
    for number in range(ROOMS_LIMIT - 1):
        await rooms.create(f"room-{number}")
    with pytest.raises(RefusedError, match="enough"):
        await rooms.create("one-more")
    with pytest.raises(RefusedError, match="already"):
        await rooms.create("lobby")


async def test_rooms_are_shared_and_outlive_who_created_them(redis: Redis) -> None:
    first, second = Rooms(redis, ["lobby"]), Rooms(redis, ["lobby"])
    for name in ("tea", "café-3", "attic"):
        await first.create(name)
    with pytest.raises(RefusedError, match="already"):
        await second.create("tea")
    await second.load()
    assert [room.name for room in second.overview()] == ["lobby", "tea", "café-3", "attic"]


async def test_of_two_who_create_a_room_at_once_one_has_created_it(redis: Redis) -> None:
    both = Rooms(redis, ["lobby"]), Rooms(redis, ["lobby"])
    outcomes = await asyncio.gather(*(rooms.create("tea") for rooms in both), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(RefusedError) == 1
