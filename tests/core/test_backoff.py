"""gapless._core.backoff: full jitter from 1 ms to 2 s."""

from __future__ import annotations

from gapless._core.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    backoff = Backoff()
    ceilings = [round(backoff.next_delay_seconds(0.9999999), 4) for _ in range(15)]
    assert ceilings[:4] == [0.002, 0.004, 0.008, 0.016]
    assert ceilings[-1] == 2.0


def test_no_delay_is_below_the_floor() -> None:
    backoff = Backoff()
    assert {backoff.next_delay_seconds(0.0) for _ in range(20)} == {0.001}


def test_reset_starts_over() -> None:
    backoff = Backoff()
    for _ in range(15):
        backoff.next_delay_seconds(0.5)
    backoff.reset()
    assert backoff.next_delay_seconds(0.9999999) < 0.00201
