"""gapless._core.subscriptions: wanted and confirmed, under any order of calls and answers."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless import BackendError
from gapless._core.subscriptions import BATCH_BYTES, BATCH_CHANNELS, WINDOW, OutOfStep, Subscriptions


def names(*channels: str) -> list[tuple[str, bytes]]:
    return [(channel, channel.encode()) for channel in channels]


def connected() -> Subscriptions:
    subscriptions = Subscriptions()
    subscriptions.connected()
    return subscriptions


def test_a_wanted_channel_is_live_when_it_is_acknowledged() -> None:
    subscriptions = connected()
    ticket = subscriptions.want(names("a", "b"))
    assert subscriptions.take_commands() == [("SUBSCRIBE", b"a", b"b")]
    assert subscriptions.acknowledge("SUBSCRIBE", b"a")[1] == []
    assert set(subscriptions.live) == {b"a"}
    subscription, finished = subscriptions.acknowledge("SUBSCRIBE", b"b")
    assert subscription is not None
    assert subscription.channel == "b"
    assert finished == [ticket]
    assert ticket.done


def test_wanting_a_live_channel_again_is_done_at_once_and_sends_nothing() -> None:
    subscriptions = connected()
    subscriptions.want(names("a"))
    subscriptions.take_commands()
    subscriptions.acknowledge("SUBSCRIBE", b"a")
    assert subscriptions.want(names("a")).done
    assert subscriptions.take_commands() == []


def test_without_a_connection_nothing_is_sent_until_there_is_one() -> None:
    subscriptions = Subscriptions()
    subscriptions.want(names("a", "b"))
    subscriptions.forget(["b"])
    assert subscriptions.take_commands() == []
    subscriptions.connected()
    assert subscriptions.take_commands() == [("SUBSCRIBE", b"a")]


def test_a_lost_connection_subscribes_everything_again() -> None:
    subscriptions = connected()
    ticket = subscriptions.want(names("a", "b"))
    subscriptions.take_commands()
    subscriptions.acknowledge("SUBSCRIBE", b"a")
    subscriptions.disconnected()
    assert not subscriptions.live
    subscriptions.connected()
    assert subscriptions.take_commands() == [("SUBSCRIBE", b"a", b"b")]
    first, _ = subscriptions.acknowledge("SUBSCRIBE", b"a")
    second, finished = subscriptions.acknowledge("SUBSCRIBE", b"b")
    assert first is not None
    assert second is not None
    assert (first.interrupted, second.interrupted) == (True, False)
    assert finished == [ticket]


def test_what_belongs_to_an_earlier_subscription_of_the_same_channel_is_not_live() -> None:
    subscriptions = connected()
    subscriptions.want(names("a"))
    subscriptions.take_commands()
    subscriptions.forget(["a"])
    subscriptions.want(names("a"))
    assert [command[0] for command in subscriptions.take_commands()] == ["UNSUBSCRIBE", "SUBSCRIBE"]
    assert subscriptions.acknowledge("SUBSCRIBE", b"a")[0] is None
    assert not subscriptions.live
    subscriptions.acknowledge("UNSUBSCRIBE", b"a")
    assert subscriptions.acknowledge("SUBSCRIBE", b"a")[0] is not None
    assert set(subscriptions.live) == {b"a"}


def test_forgetting_completes_the_calls_that_wait() -> None:
    subscriptions = connected()
    ticket = subscriptions.want(names("a"))
    assert subscriptions.forget(["a", "unknown"]) == [ticket]


def test_an_abandoned_call_takes_only_its_own_channels_with_it() -> None:
    subscriptions = connected()
    kept = subscriptions.want(names("kept"))
    subscriptions.claim(kept)
    first = subscriptions.want(names("kept", "shared", "own"))
    second = subscriptions.want(names("shared"))
    subscriptions.abandon(first)
    assert {s.channel for s in subscriptions} == {"kept", "shared"}
    assert not second.done


def test_a_call_cancelled_in_the_moment_of_success_does_not_end_the_other_call() -> None:
    subscriptions = connected()
    first, second = subscriptions.want(names("a")), subscriptions.want(names("a"))
    subscriptions.take_commands()
    subscriptions.acknowledge("SUBSCRIBE", b"a")
    subscriptions.abandon(first)
    subscriptions.claim(second)
    assert set(subscriptions.live) == {b"a"}


def test_a_busy_server_is_asked_again_and_the_call_goes_on_waiting() -> None:
    subscriptions = connected()
    ticket = subscriptions.want(names("a", "b"))
    subscriptions.take_commands()
    subscriptions.postpone()
    assert not ticket.done
    subscriptions.retry_refused()
    assert subscriptions.take_commands() == [("SUBSCRIBE", b"a", b"b")]


def test_commands_are_bounded_in_channels_bytes_and_number() -> None:
    subscriptions = connected()
    subscriptions.want([(f"c{n}", b"c%d" % n) for n in range(BATCH_CHANNELS * (WINDOW + 2))])
    commands = subscriptions.take_commands()
    assert len(commands) == WINDOW
    assert {len(command) - 1 for command in commands} == {BATCH_CHANNELS}
    assert subscriptions.take_commands() == []
    for name in commands[0][1:]:
        assert isinstance(name, bytes)
        subscriptions.acknowledge("SUBSCRIBE", name)
    assert len(subscriptions.take_commands()) == 1

    large = connected()
    large.want([(f"c{n}", b"%09d" % n * 10_000) for n in range(20)])
    for command in large.take_commands():
        assert sum(len(name) for name in command[1:]) <= BATCH_BYTES


def test_a_refused_command_is_split_until_the_culprit_stands_alone() -> None:
    subscriptions = connected()
    ticket = subscriptions.want(names("a", "bad", "c", "d"))
    error = BackendError("no")
    refused = []
    for _ in range(20):
        for command in subscriptions.take_commands():
            if b"bad" in command:
                subscription, _ = subscriptions.refuse(error)
                if subscription is not None:
                    refused.append(subscription.channel)
            else:
                for name in command[1:]:
                    assert isinstance(name, bytes)
                    subscriptions.acknowledge("SUBSCRIBE", name)
    assert refused == ["bad"]
    assert set(subscriptions.live) == {b"a", b"c", b"d"}
    assert ticket.done
    assert ticket.error is error
    assert "bad" not in {s.channel for s in subscriptions}


def test_a_channel_that_was_live_before_stays_wanted_when_it_is_refused() -> None:
    subscriptions = connected()
    subscriptions.claim(subscriptions.want(names("a")))
    subscriptions.take_commands()
    subscriptions.refuse(BackendError("no"))
    assert [(s.channel, s.refused) for s in subscriptions] == [("a", True)]


def test_a_refused_channel_is_tried_again_when_asked_for_or_on_request() -> None:
    subscriptions = connected()
    subscriptions.claim(subscriptions.want(names("a")))
    for try_again in (lambda: subscriptions.want(names("a")), subscriptions.retry_refused):
        subscriptions.take_commands()
        subscriptions.refuse(BackendError("no"))
        assert subscriptions.take_commands() == []
        try_again()
        assert subscriptions.take_commands() == [("SUBSCRIBE", b"a")]
    subscription, _ = subscriptions.acknowledge("SUBSCRIBE", b"a")
    assert subscription is not None
    assert subscription.interrupted


def test_a_call_that_returned_too_early_makes_the_time_in_between_a_gap() -> None:
    subscriptions = Subscriptions()
    subscriptions.claim(subscriptions.want(names("a")))
    subscriptions.connected()
    subscriptions.take_commands()
    subscription, _ = subscriptions.acknowledge("SUBSCRIBE", b"a")
    assert subscription is not None
    assert subscription.interrupted


@pytest.mark.parametrize("answer", [("SUBSCRIBE", b"b"), ("UNSUBSCRIBE", b"a")])
def test_an_answer_out_of_step_is_noticed(answer: tuple[str, bytes]) -> None:
    subscriptions = connected()
    with pytest.raises(OutOfStep):
        subscriptions.acknowledge(*answer)
    with pytest.raises(OutOfStep):
        subscriptions.refuse(BackendError("no"))
    subscriptions.want(names("a"))
    subscriptions.take_commands()
    with pytest.raises(OutOfStep):
        subscriptions.acknowledge(*answer)


Step = st.one_of(
    st.tuples(st.just("want"), st.lists(st.sampled_from("abcd"), min_size=1, unique=True)),
    st.tuples(st.just("forget"), st.lists(st.sampled_from("abcd"), min_size=1, unique=True)),
    st.tuples(st.just("answer"), st.integers(1, 3)),
    st.tuples(st.just("lose"), st.none()),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(Step, max_size=40))
def test_whatever_happens_the_server_ends_up_with_what_is_wanted(steps: list[tuple[str, object]]) -> None:
    """Compare with a model server that executes the commands in order."""
    subscriptions = connected()
    wanted: set[str] = set()
    tickets = []
    answers: deque[tuple[str, bytes]] = deque()
    on_server: set[bytes] = set()

    def server_executes() -> None:
        for verb, *channels in subscriptions.take_commands():
            for name in channels:
                assert isinstance(name, bytes)
                (on_server.add if verb == "SUBSCRIBE" else on_server.discard)(name)
                answers.append((str(verb), name))

    def read(count: int) -> None:
        for _ in range(min(count, len(answers))):
            subscriptions.acknowledge(*answers.popleft())
            server_executes()

    for step, argument in steps:
        if step == "want":
            assert isinstance(argument, list)
            wanted |= set(argument)
            tickets.append(subscriptions.want(names(*argument)))
        elif step == "forget":
            assert isinstance(argument, list)
            wanted -= set(argument)
            subscriptions.forget(argument)
        elif step == "lose":
            answers.clear()
            on_server.clear()
            subscriptions.connected()
        server_executes()
        if step == "answer":
            assert isinstance(argument, int)
            read(argument)
        # Never live without being wanted and confirmed.
        assert {s.channel for s in subscriptions.live.values()} <= wanted
    while answers:
        read(1)
    assert {name.decode() for name in on_server} == wanted
    assert {s.channel for s in subscriptions.live.values()} == wanted
    assert all(ticket.done for ticket in tickets)


def test_a_channel_that_is_prepared_is_not_subscribed_by_a_reconnect() -> None:
    subscriptions = Subscriptions()
    ticket = subscriptions.want(names("a"), later=True)
    subscriptions.connected()
    assert subscriptions.take_commands() == []
    subscriptions.enlist(ticket.new)
    assert subscriptions.take_commands() == [("SUBSCRIBE", b"a")]
    subscriptions.enlist(ticket.new)
    assert subscriptions.take_commands() == []
