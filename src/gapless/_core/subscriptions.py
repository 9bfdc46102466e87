"""Which channels are wanted, and what the server has confirmed of them.

Two states are kept apart. *Wanted* changes the moment a caller asks; *live* changes when the
server's acknowledgement is read. Feed this object with what callers want and what the server
answers, then drain `take_commands()` and send what comes out. Rules:

- Commands go out in the order of the calls, and the server answers them in that order, so each
  acknowledgement belongs to the oldest command that still waits for one.
- A channel that is unsubscribed and subscribed again is a new `Subscription`. What arrives before
  its own acknowledgement belongs to the old one and is not delivered.
- After a lost connection every wanted channel is subscribed again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

from gapless._core.subscription import Subscription, Ticket
from gapless.errors import BackendError

Verb = Literal["SUBSCRIBE", "UNSUBSCRIBE"]

# One command names at most this many channels, and at most so many bytes of names; at most
# WINDOW commands wait for their acknowledgement. The server's answers repeat the names, and a
# client whose answers pile up beyond 32 MB is cut off (client-output-buffer-limit pubsub).
BATCH_CHANNELS = 512
BATCH_BYTES = 256 * 1024
WINDOW = 16


class OutOfStep(Exception):
    """The server acknowledged something else than what it was asked: the connection is useless."""


class _Command:
    __slots__ = ("acknowledged", "apart", "subscriptions", "verb")

    def __init__(self, verb: Verb, subscriptions: list[Subscription], *, apart: bool = False) -> None:
        self.verb = verb
        self.subscriptions = subscriptions
        # Split off to find the channel that the server refuses: not to be joined again.
        self.apart = apart
        self.acknowledged = 0


class Subscriptions:
    """The wanted and the confirmed channels of one process, on one connection at a time.

    chained: Whether their events have ids.
    """

    def __init__(self, *, chained: bool = False) -> None:
        self._chained = chained
        # Confirmed channels by the name that stands in a push. Read by the hot path.
        self.live: dict[bytes, Subscription] = {}
        self._wanted: dict[str, Subscription] = {}
        self._connected = False
        self._outgoing: deque[_Command] = deque()
        self._expected: deque[_Command] = deque()

    @property
    def waiting(self) -> bool:
        """Whether the server owes an answer."""
        return bool(self._expected)

    def __len__(self) -> int:
        return len(self._wanted)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._wanted.values())

    def want(self, names: Iterable[tuple[str, bytes]], *, later: bool = False) -> Ticket:
        """Want channels, given as pairs of channel and wire name; those wanted already stay as they are.

        later: Not subscribed before `enlist(ticket.new)`, which must follow.
        """
        ticket = Ticket()
        for channel, wire_name in names:
            subscription = self._wanted.get(channel)
            if subscription is None:
                subscription = Subscription(channel, wire_name, chained=self._chained)
                self._wanted[channel] = subscription
                ticket.new.append(subscription)
            elif subscription.refused:
                subscription.refused = False
                ticket.new.append(subscription)
            subscription.callers += 1
            ticket.subscriptions.append(subscription)
            if not subscription.live:
                ticket.pending.add(subscription)
                if subscription.tickets is None:
                    subscription.tickets = [ticket]
                else:
                    subscription.tickets.append(ticket)
        for subscription in ticket.new:
            subscription.preparing = True
        if not later:
            self.enlist(ticket.new)
        return ticket

    def enlist(self, subscriptions: Iterable[Subscription]) -> None:
        """Subscribe to channels that `want()` found to be new, as far as they are still wanted."""
        prepared = [s for s in subscriptions if s.wanted and s.preparing]
        for subscription in prepared:
            subscription.preparing = False
        if self._connected:
            self._queue("SUBSCRIBE", prepared)

    def forget(self, channels: Iterable[str]) -> list[Ticket]:
        """No longer want channels; unknown ones are ignored. Returns the calls that this completes."""
        gone = [s for channel in channels if (s := self._wanted.pop(channel, None)) is not None]
        finished: list[Ticket] = []
        for subscription in gone:
            subscription.wanted = False
            if subscription.live:
                subscription.live = False
                del self.live[subscription.wire_name]
            finished += _settle(subscription, None)
        if self._connected:
            self._queue("UNSUBSCRIBE", gone)
        return finished

    def claim(self, ticket: Ticket) -> None:
        """The subscribe call returns: from now on its channels stay until somebody forgets them."""
        _withdraw(ticket)
        for subscription in ticket.subscriptions:
            subscription.claimed = True
            # The caller believes to be subscribed: what is published until it is true is missed.
            subscription.interrupted = subscription.interrupted or not subscription.live

    def abandon(self, ticket: Ticket) -> list[Ticket]:
        """The subscribe call failed or was cancelled: forget those channels that nobody else asked for."""
        _withdraw(ticket)
        return self.forget(
            [s.channel for s in ticket.subscriptions if s.wanted and not s.claimed and not s.callers]
        )

    def connected(self) -> None:
        """A new connection: nothing is subscribed on it yet."""
        self.disconnected()
        self._connected = True
        for subscription in self._wanted.values():
            subscription.refused = False
        self._queue("SUBSCRIBE", [s for s in self._wanted.values() if not s.preparing])

    def disconnected(self) -> None:
        """The connection is gone, and with it every subscription and every answer under way."""
        self._connected = False
        self._outgoing.clear()
        self._expected.clear()
        for subscription in self.live.values():
            subscription.live = False
            subscription.interrupted = True
        self.live.clear()

    def take_commands(self) -> list[tuple[str | bytes, ...]]:
        """Return the commands to send now; each must be sent, in this order."""
        commands: list[tuple[str | bytes, ...]] = []
        while self._outgoing and len(self._expected) < WINDOW:
            command = self._outgoing.popleft()
            self._join_following(command)
            self._expected.append(command)
            commands.append((command.verb, *(s.wire_name for s in command.subscriptions)))
        return commands

    def acknowledge(self, verb: str, wire_name: bytes) -> tuple[Subscription | None, list[Ticket]]:
        """The server confirmed one channel of the oldest command.

        Returns:
            The subscription that is live now (None if the channel is not wanted any more, or for an
            unsubscribe), and the subscribe calls that this completes.

        Raises:
            OutOfStep: The server confirmed something that was not asked for.
        """
        if not self._expected:
            raise OutOfStep(f"unexpected {verb} of {wire_name!r}")
        command = self._expected[0]
        subscription = command.subscriptions[command.acknowledged]
        if command.verb != verb or subscription.wire_name != wire_name:
            raise OutOfStep(
                f"{verb} of {wire_name!r} instead of {command.verb} of {subscription.wire_name!r}"
            )
        command.acknowledged += 1
        if command.acknowledged == len(command.subscriptions):
            self._expected.popleft()
        if verb == "UNSUBSCRIBE" or not subscription.wanted:
            return None, []
        subscription.live = True
        subscription.refused = False
        # Under its own name: the one that was received is a copy, to be let go.
        self.live[subscription.wire_name] = subscription
        return subscription, _settle(subscription, None)

    def refuse(self, error: BackendError) -> tuple[Subscription | None, list[Ticket]]:
        """The server answered the oldest command with an error: none of its channels took effect.

        One forbidden channel makes the server refuse the whole command, so it is split and tried
        again until the culprit stands alone.

        Returns:
            The refused subscription, if it stood alone, and the subscribe calls that this completes.
            A channel is not wanted any more, unless a subscribe call has returned for it: then it is
            refused, and stays so until `retry_refused()`.
        """
        if not self._expected:
            raise OutOfStep(f"unexpected error: {error}")
        command = self._expected.popleft()
        if command.verb == "UNSUBSCRIBE":
            return None, []
        still_wanted = [s for s in command.subscriptions if s.wanted]
        if len(still_wanted) > 1:
            middle = len(still_wanted) // 2
            self._outgoing.appendleft(_Command("SUBSCRIBE", still_wanted[middle:], apart=True))
            self._outgoing.appendleft(_Command("SUBSCRIBE", still_wanted[:middle], apart=True))
            return None, []
        if not still_wanted:
            return None, []
        if len(command.subscriptions) > 1:
            self._outgoing.appendleft(_Command("SUBSCRIBE", still_wanted, apart=True))
            return None, []
        subscription = still_wanted[0]
        finished = _settle(subscription, error)
        if subscription.claimed:
            subscription.refused = True
            subscription.interrupted = True
        else:
            del self._wanted[subscription.channel]
            subscription.wanted = False
        return subscription, finished

    def postpone(self) -> None:
        """The server can't take the oldest command now: its channels wait for `retry_refused()`."""
        if not self._expected:
            raise OutOfStep("unexpected error")
        for subscription in self._expected.popleft().subscriptions:
            subscription.refused = True

    def retry_refused(self) -> None:
        """Try the refused channels again: permissions change, and a busy server has time again."""
        refused = [s for s in self._wanted.values() if s.refused]
        for subscription in refused:
            subscription.refused = False
        if self._connected:
            self._queue("SUBSCRIBE", refused)

    def _join_following(self, command: _Command) -> None:
        """Let one command do what many calls have asked for, if they did one after the other."""
        size = sum(len(subscription.wire_name) for subscription in command.subscriptions)
        while self._outgoing and self._outgoing[0].verb == command.verb:
            if command.apart or self._outgoing[0].apart:
                break
            following = self._outgoing[0].subscriptions
            size += sum(len(subscription.wire_name) for subscription in following)
            if len(command.subscriptions) + len(following) > BATCH_CHANNELS or size > BATCH_BYTES:
                break
            command.subscriptions += following
            self._outgoing.popleft()

    def _queue(self, verb: Verb, subscriptions: list[Subscription]) -> None:
        iterator = iter(subscriptions)
        while batch := list(islice(iterator, BATCH_CHANNELS)):
            start = 0
            size = 0
            for index, subscription in enumerate(batch):
                size += len(subscription.wire_name)
                if size > BATCH_BYTES and index > start:
                    self._outgoing.append(_Command(verb, batch[start:index]))
                    start = index
                    size = len(subscription.wire_name)
            self._outgoing.append(_Command(verb, batch[start:]))


def _withdraw(ticket: Ticket) -> None:
    for subscription in ticket.subscriptions:
        subscription.callers -= 1
    for subscription in ticket.pending:
        if subscription.tickets is not None:
            subscription.tickets.remove(ticket)
    ticket.pending.clear()


def _settle(subscription: Subscription, error: BackendError | None) -> list[Ticket]:
    tickets = subscription.tickets
    if tickets is None:
        return []
    subscription.tickets = None
    finished: list[Ticket] = []
    for ticket in tickets:
        ticket.pending.discard(subscription)
        if error is not None and ticket.error is None:
            ticket.error = error
        if ticket.done:
            finished.append(ticket)
    return finished
