"""Litestar's ChannelsPlugin, on the hub."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from litestar.channels.plugin import ChannelsException as ChannelsException
from litestar.connection import Request, WebSocket
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler, get

from gapless._core.event import Event
from gapless.integrations.litestar.application import ApplicationPlugin, EventSettings
from gapless.integrations.litestar.events import EventStream
from gapless.integrations.litestar.options import Options
from gapless.integrations.litestar.sockets import serve
from gapless.integrations.litestar.subscriber import Subscriber

if TYPE_CHECKING:
    from litestar.config.app import AppConfig

__all__ = ["ChannelsException", "ChannelsPlugin"]


class ChannelsPlugin(ApplicationPlugin):
    """Litestar's `ChannelsPlugin`, on the hub: what applications call is the same, and more.

    A subclass of Litestar's, so that handlers and type checkers that know that one take this one. It is
    injected under the key ``channels``.

    Args:
        backend: One of gapless's, or one that was written for Litestar, which then can't resume.
        channels: The channels that there are.
        arbitrary_channels_allowed: Whether there are others, too.
        create_ws_route_handlers: Make WebSocket handlers: one for each of `channels`, at its name, or a
            single one at ``{channel_name:str}`` if arbitrary channels are allowed. Without guards anybody may
            connect to them, and in the second case to any channel.
        ws_handler_send_history: How many events of the history they send first; negative for all.
        ws_handler_base_path: What their paths begin with.
        ws_send_mode: Whether they send ``text`` or ``binary`` frames. A payload that is no UTF-8 goes in a
            binary frame either way.
        subscriber_max_backlog: Events that may wait for a subscriber, in each channel. None: nothing is
            dropped that the history has (strategy ``spill``, 1,000 events in memory); without a history,
            1,000 may wait.
        subscriber_backlog_strategy: What happens to more: ``backoff``, ``dropleft``, ``disconnect`` or
            ``spill``, as `gapless.Channels.subscribe()` has them. What is dropped is a Gap.
        subscriber_class: Subclass of `gapless.integrations.litestar.Subscriber`.
        type_encoders: Encoders for `encode_data()`, beyond Litestar's.
        subscriber_max_backlog_bytes: Bytes of payloads that may wait for a subscriber, in each channel.
        max_queue: Publishes of `publish()` that may wait.
        max_queue_bytes: The same in bytes of payloads.
        on_publish_error: Called in the event loop with exception, payload and channels of each publish of
            `publish()` that failed. Default: one line in the log, for the 1st, 2nd, 4th, 8th...
        create_sse_route_handlers: Make handlers of server-sent events, likewise: at the same names, for GET.
        sse_handler_send_history: How many events of the history they send to a client that is new; negative
            for all.
        sse_handler_base_path: What their paths begin with.
        handler_guards: Litestar's guards, for all handlers that are made: who may connect, and to what.
        drain_timeout: Seconds for which the shutdown waits for queued publishes, and a subscriber's `stop()`
            for a callback that does nothing.
        linger: Seconds for which a channel stays subscribed at the backend when its last subscriber is gone.

    Attributes:
        hub: What it is built on; `hub.stats` says how it is.
        running: Subscribers whose `run_in_background()` is under way.

    Raises:
        ImproperlyConfiguredException: No channels, or the arguments don't go together.
        ConfigurationError: An argument is out of range or of the wrong kind.
    """

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Register the dependency, the lifespan and the handlers. Called by Litestar."""
        app_config.dependencies["channels"] = Provide(lambda: self, use_cache=True, sync_to_thread=False)
        app_config.lifespan.append(self)
        # Annotations in handlers are resolved by it.
        app_config.signature_namespace.update(ChannelsPlugin=ChannelsPlugin)
        names = ("{channel_name:str}",) if self._arbitrary else self._names
        if self._makes_handlers:
            app_config.route_handlers.extend(self._handler(name) for name in names)
        if self._events is not None:
            app_config.route_handlers.extend(self._events_handler(name, self._events) for name in names)
        return app_config

    async def subscribe(
        self,
        channels: str | Iterable[str],
        history: int | None = None,
        *,
        after: str | Mapping[str, str] | None = None,
        **options: Unpack[Options],
    ) -> Subscriber:
        """Return a subscriber that gets what is published from now on. `unsubscribe()` must follow.

        If it fails or is cancelled, nothing is left of it.

        Args:
            channels: A name, or names; at least one.
            history: Begin each channel with its newest events, so many at most; without hole or duplicate
                where the history ends and live events begin, if the backend's events have ids.
            after: Go on from here: a `cursor` of an earlier subscriber, or an id for each channel.
            policy: Instead of the plugin's `subscriber_backlog_strategy`.
            max_backlog: Instead of the plugin's `subscriber_max_backlog`.
            max_backlog_bytes: Instead of the plugin's.

        Raises:
            ChannelsException: A channel was not declared.
            NotImplementedError: The backend has no history, and one is asked for.
            ConfigurationError: An argument is out of range, or the backend can't do what is asked for.
            HubClosed: The application has not started, or is shut down.
            BackendError: As `gapless.Subscriber.open()`.
            TypeError, ValueError: A name is none, or `after` is no cursor.
        """
        subscriber = self.prepare_subscriber(channels, history, after=after, **options)
        await subscriber.open()
        return subscriber

    def prepare_subscriber(
        self,
        channels: str | Iterable[str],
        history: int | None = None,
        *,
        after: str | Mapping[str, str] | None = None,
        **options: Unpack[Options],
    ) -> Subscriber:
        """Return a subscriber that is subscribed by `open()`, or `async with`, and unsubscribed by `close()`.

        Arguments and errors are those of `subscribe()`; what the backend raises comes with `open()`.
        """
        names = self._checked(channels)
        policy, max_backlog = options.get("policy"), options.get("max_backlog")
        subscriber = self._subscribers(
            plugin=self,
            max_backlog=self._max_backlog if max_backlog is None else max_backlog,
            backlog_strategy=policy or self._strategy,
        )
        strategy = subscriber.backlog_strategy
        if subscriber.max_backlog is None and policy is None and strategy != "disconnect":
            # Litestar's bounds nothing then. As near to that as bounded memory allows.
            strategy = "spill" if self._joins_history else strategy
        made = self.hub.subscribe(
            names,
            history=history if self._joins_history else None,
            after=after,
            policy=strategy,
            max_backlog=subscriber.max_backlog or None,
            max_backlog_bytes=options.get("max_backlog_bytes"),
        )
        joins = self._joins_history or not history
        subscriber.prepare(
            made, None if joins else partial(self.put_subscriber_history, subscriber, names, history)
        )
        return subscriber

    # Litestar's would take any of Litestar's subscribers; those that are handed out are these.
    async def unsubscribe(  # type: ignore[override]
        self, subscriber: Subscriber, channels: str | Iterable[str] | None = None
    ) -> None:
        """Have a subscriber leave channels. When it has left the last one, it ends after what waits then.

        Its `run_in_background()`, too, ends with the last channel. Channels that it has not are ignored. May
        be called again, and in the subscriber's own callback.

        Raises:
            Exception: What the callback of `run_in_background()` has raised.
        """
        if channels is not None:
            names = frozenset([channels] if isinstance(channels, str) else channels)
            if not names.issuperset(subscriber.channels):
                subscriber.leave(names)
                return
        subscriber.end("caller")
        await subscriber.stop()

    @asynccontextmanager
    async def start_subscription(
        self,
        channels: str | Iterable[str],
        history: int | None = None,
        *,
        after: str | Mapping[str, str] | None = None,
        **options: Unpack[Options],
    ) -> AsyncGenerator[Subscriber, None]:
        """Subscribe for as long as the context lasts. Arguments and errors are those of `subscribe()`."""
        subscriber = await self.subscribe(channels, history=history, after=after, **options)
        try:
            yield subscriber
        finally:
            await self.unsubscribe(subscriber)

    async def put_subscriber_history(  # type: ignore[override]
        self, subscriber: Subscriber, channels: str | Iterable[str], limit: int | None = None
    ) -> None:
        """Put the history of channels before what waits for a subscriber; what comes live is left out.

        Best before the first event is taken: up to 31 that an iteration has taken out come before it. Never
        waits for the subscriber, however much it is. `subscribe(history=)` does it in one step.

        Args:
            subscriber: Where to.
            channels: A name, or names; one after the other.
            limit: The newest events of each, so many at most; None for all, 0 for none.

        Raises:
            NotImplementedError: The backend has no history.
            BackendError: As the backend's `get_history()`.
        """
        for name in self._checked(channels):
            subscriber.put_history(name, await self._history(name, limit))

    async def _history(self, name: str, limit: int | None) -> list[Event]:
        backend = self.hub.backend
        if self._joins_history:
            return await backend.recent(name, limit)
        return [Event(name, data) for data in await backend.get_history(name, limit)]

    def _handler(self, name: str) -> WebsocketRouteHandler:
        async def _ws_handler_func(socket: WebSocket[Any, Any, Any]) -> None:
            channel = socket.path_params["channel_name"] if self._arbitrary else name
            await serve(socket, channel, partial(self.prepare_subscriber, channel), self._sockets)

        return WebsocketRouteHandler(self._base_path + name, guards=self._guards)(_ws_handler_func)

    def _events_handler(self, name: str, settings: EventSettings) -> HTTPRouteHandler:
        async def _events_handler_func(request: Request[Any, Any, Any]) -> EventStream:
            channel = request.path_params["channel_name"] if self._arbitrary else name
            return EventStream(request, self, channel, history=settings.history or None)

        return get(settings.base_path + name, guards=self._guards)(_events_handler_func)
