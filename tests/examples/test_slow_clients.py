"""The example of clients that read nothing, and what docs/hub.md says of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from examples.slow_clients import EVENTS, main

from gapless._core.reader import POLICIES
from tests.support.servers import Server

PAGE = (Path(__file__).parents[2] / "docs/hub.md").read_text()
LINE = re.compile(r"(\w+): received ([\d\- and]+), lost (\d+)(?:, closed with (\d+))?")


async def test_slow_clients_get_what_the_page_of_the_hub_says(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    await main(server.url)
    lines = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    received = {line[1]: parts(line[2]) for line in lines}
    lost = {line[1]: int(line[3]) for line in lines}
    codes = {line[1]: line[4] for line in lines if line[4]}

    assert received.keys() == {"fast", *POLICIES}
    for policy, ranges in received.items():
        numbers = [number for part in ranges for number in part]
        assert numbers == sorted(set(numbers)), policy
        assert len(numbers) + lost[policy] == EVENTS, policy
        # What was in the buffers already when it became too slow.
        assert numbers[0] == 0, policy
    for policy in ("fast", "disconnect", "spill"):
        assert lost[policy] == 0
    assert codes == {"disconnect": "4408"}
    # Far more than what fits into the buffers: all of them were too slow.
    assert lost["backoff"] > EVENTS / 2
    assert lost["dropleft"] > EVENTS / 2
    assert len(received["backoff"]) == 1
    assert received["dropleft"][-1].start <= EVENTS - 500
    assert received["dropleft"][-1].stop == EVENTS

    outcomes = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE))
    assert outcomes == {
        "backoff": "the oldest, from 0 on",
        "dropleft": "0 and some more, and 1500 to 1999",
        "disconnect": "close code 4408, and 0 to 1999 when it comes back",
        "spill": "0 to 1999",
    }


def parts(text: str) -> list[range]:
    """Return the numbers of `0-9 and 90-99`."""
    pairs = [part.split("-") for part in text.split(" and ")]
    return [range(int(first), int(last) + 1) for first, last in pairs]
