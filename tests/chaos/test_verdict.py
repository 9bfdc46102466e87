"""The verdict on histories made by hand."""

from __future__ import annotations

import pytest

from tests.chaos.history import Consumer, History, Item, Outcome, Publish
from tests.chaos.verdict import Verdict, judge, losses


def publish(text: str) -> Publish:
    """ "a1@5" is a's first publish, which began at 5 and ended at 6; "a1@5-9" ended at 9.

    With "?" behind it the outcome is uncertain, with "!" it has failed.
    """
    outcome: Outcome = (
        "uncertain" if text.endswith("?") else "failed" if text.endswith("!") else "acknowledged"
    )
    name, times = text.rstrip("?!").split("@")
    began, _, ended = times.partition("-")
    return Publish(
        name[0], "room", int(name[1:]), float(began), float(ended or float(began) + 1), outcome, "no"
    )


def item(text: str) -> Item:
    """ "a1" is an event, "gap" a gap."""
    if text == "gap":
        return Item("room", 0, reason="disconnected")
    return Item("room", 0, f"{text[0]}:room:{text[1:]}", "1-1")


def verdict_on(published: str, received: str, allowed: int = 0, subscribed: float = 0) -> Verdict:
    consumer = Consumer("c", subscribed, [item(text) for text in received.split()])
    return judge(History([publish(text) for text in published.split()], [consumer]), {"c": allowed})


GOOD = [
    ("a1@1 a2@3 a3@5", "a1 a2 a3"),
    ("a1@1 a2@3 a3@5", "a1 gap a3"),
    ("a1@1 a2@3 a3@5", "gap a2 a3"),
    ("a1@1 a2@3 a3@5", "a1 gap"),
    ("a1@1 a2@3 a3@5", "gap"),
    ("a1@1 a2@3 a3@5 a4@7 a5@9", "a1 gap a3 gap a5"),
    # What was not acknowledged may be missing, come, and come late.
    ("a1@1 a2@3? a3@5! a4@7", "a1 a4"),
    ("a1@1 a2@3? a3@5! a4@7", "a1 a2 a4"),
    ("a1@1 a2@3? a3@5! a4@7", "a1 a4 a2"),
    # A gap is needed if an uncertain publish may have been executed there.
    ("a1@1 a2@3? a3@5", "a1 gap a3"),
    ("a1@1 a2@3? a3@5", "a1 a3 gap"),
    ("a1@1 a2@3? a3@5 a4@8", "a1 a3 gap a4"),
    # Publishes at the same time come in any order, and so do their holes.
    ("a1@1-9 b1@1-9", "b1 a1"),
    ("a1@1 a2@3-9 b1@3-9 b2@10", "a1 b1 gap b2"),
    ("a1@1 a2@3-9 b1@3-9 b2@10", "a1 gap b1 b2"),
]
BAD = [
    ("a1@1 a2@3 a3@5", "a1 a3", "loss"),
    ("a1@1 a2@3 a3@5", "a1 a2", "loss"),
    ("a1@1 a2@3 a3@5", "a2 a3", "loss"),
    ("a1@1 a2@3 a3@5", "", "loss"),
    ("a1@1 a2@3 a3@5 a4@7", "gap a1 a3 gap", "loss"),
    ("a1@1 a2@3 a3@5 a4@7", "a1 gap a2 a4", "loss"),
    ("a1@1 a2@3 a3@5 a4@7 a5@9", "a1 gap a3 a5", "loss"),
    # Another producer's events bound a hole as well.
    ("a1@1 b1@3 a2@5 b2@7 a3@9", "a1 gap b1 b2 a3", "loss"),
    ("a1@1 a2@3", "a2 a1", "order"),
    ("a1@1 b1@3", "b1 a1", "order"),
    ("a1@1 b1@3 c1@3.5-20", "b1 c1 a1", "order"),
    ("a1@1 a2@3", "a1 a2 a1", "duplicate"),
    ("a1@1 a2@3?", "a1 a2 a2", "duplicate"),
    ("a1@1 a2@3!", "a1 a2", "phantom"),
    ("a1@1", "a1 a2", "phantom"),
    ("a1@1 a2@3", "a1 gap a2", "cry-wolf"),
    ("a1@1 a2@3 a3@5", "a1 a2 gap a3", "cry-wolf"),
    ("a1@1 a2@3! a3@5", "a1 gap a3", "cry-wolf"),
    ("a1@1 a2@3 a3@5", "a1 gap a3 gap", "cry-wolf"),
    ("a1@1 a2@3? a3@50", "a1 a3 gap", "cry-wolf"),
]


@pytest.mark.parametrize(("published", "received"), GOOD)
def test_a_good_history(published: str, received: str) -> None:
    assert verdict_on(published, received).violations == []


@pytest.mark.parametrize(("published", "received", "kind"), BAD)
def test_a_bad_history(published: str, received: str, kind: str) -> None:
    assert kind in verdict_on(published, received).kinds


def test_what_was_published_before_the_subscription_is_not_missed() -> None:
    assert verdict_on("a1@1 a2@3 a3@5", "a3", subscribed=4).violations == []
    assert verdict_on("a1@1 a2@3 a3@5", "a3", subscribed=2).kinds == {"loss"}


def test_gaps_without_a_loss_are_counted_and_bounded() -> None:
    assert verdict_on("a1@1 a2@3 a3@5", "a1 gap a2 gap a3", allowed=2).violations == []
    verdict = verdict_on("a1@1 a2@3 a3@5", "a1 gap a2 gap a3", allowed=1)
    assert verdict.kinds == {"cry-wolf"}
    assert verdict.needless_gaps == {"disconnected": 2}
    assert "disconnected after a:room:2 (id 1-1)" in str(verdict.violations[0])


def test_channels_and_consumers_are_judged_apart() -> None:
    publishes = [
        Publish("a", channel, seq, seq, seq + 0.5, "acknowledged")
        for channel in ("x", "y")
        for seq in (1, 2, 3)
    ]
    whole = [Item(p.channel, 0, p.payload, "1-1") for p in publishes]
    holed = [one for one in whole if one.payload != "a:x:2"]
    history = History(
        publishes,
        [
            Consumer("good", 0, whole),
            Consumer("bad", 0, [Item("y", 0, reason="reset"), *holed]),
            Consumer("strange", 0, [*whole, Item("z", 0, "a:x:1", "1-1"), Item("y", 0, "a:x:1", "1-1")]),
        ],
    )
    assert [(v.kind, v.consumer, v.channel) for v in judge(history, {"bad": 1}).violations] == [
        ("loss", "bad", "x"),
        ("phantom", "strange", "z"),
        ("phantom", "strange", "y"),
    ]
    assert [violation.consumer for violation in losses(history)] == ["bad"]
    assert "1 acknowledged events and no Gap between a:x:1 (id 1-1) and a:x:3 (id 1-1): a:x:2" in str(
        losses(history)[0]
    )


def test_figures() -> None:
    verdict = verdict_on("a1@1 a2@3 a3@5? a4@7! a5@9", "a1 gap a5")
    assert verdict.published == {"acknowledged": 3, "uncertain": 1, "failed": 1}
    assert (verdict.received, verdict.missed) == (2, 1)
    assert verdict.gaps == {"disconnected": 1}


def gap(reason: str, lost: int | None = None) -> Item:
    return Item("room", 0, reason=reason, lost=lost)


def verdict_on_gaps(published: str, *items: Item, reasons: set[str] | None = None) -> Verdict:
    history = History([publish(text) for text in published.split()], [Consumer("c", 0, list(items))])
    return judge(history, {"c": 5}, reasons)


def test_a_gap_needs_a_cause() -> None:
    items = item("a1"), gap("restart"), item("a3")
    assert verdict_on_gaps("a1@1 a2@3 a3@5", *items, reasons={"trimmed"}).kinds == {"reason"}
    assert verdict_on_gaps("a1@1 a2@3 a3@5", *items, reasons={"restart"}).kinds == set()


@pytest.mark.parametrize(
    ("lost", "kinds"), [(None, set()), (1, set()), (2, set()), (3, {"count"}), (0, {"count"})]
)
def test_a_gap_counts_what_is_missing(lost: int | None, kinds: set[str]) -> None:
    items = item("a1"), gap("backlog", lost), item("a4")
    assert verdict_on_gaps("a1@1 a2@3 a3@5? a4@7", *items).kinds == kinds
