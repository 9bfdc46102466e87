"""The plugin's part in an application: constructor, lifespan, and publishing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

from litestar.channels import ChannelsBackend as LitestarBackend
from litestar.channels import ChannelsPlugin as LitestarPlugin
from litestar.channels.plugin import ChannelsException
from litestar.exceptions import ImproperlyConfiguredException

from gapless._core.names import check_channels
from gapless._core.reader import Policy
from gapless.backends.base import ChannelsBackend
from gapless.errors import BackendError, HubClosed
from gapless.hub import Channels
from gapless.hub.outbox import OnError
from gapless.integrations.litestar.adapters import hub_backend, keeps_history
from gapless.integrations.litestar.sockets import Settings
from gapless.integrations.litestar.subscriber import Subscriber
from gapless.transports.shutdown import ending_with_the_server
from gapless.transports.websocket import check_mode

if TYPE_CHECKING:
    from litestar.types import Guard, LitestarEncodableType, TypeEncodersMap
    from litestar.types.asgi_types import WebSocketMode

logger = logging.getLogger("gapless")

# For "all": more than any history has.
ALL_EVENTS = 2**31 - 1


class HubOptions(TypedDict, total=False):
    """Arguments that are those of `gapless.Channels`."""

    max_queue: int
    max_queue_bytes: int
    on_publish_error: OnError | None
    drain_timeout: float
    linger: float


@dataclass(frozen=True, slots=True)
class EventSettings:
    """Where a plugin's handlers of server-sent events are, and how many events of the history they send."""

    base_path: str
    history: int


class ApplicationPlugin(LitestarPlugin):
    """The half of `ChannelsPlugin` that runs and publishes; the other half subscribes."""

    def __init__(
        self,
        backend: ChannelsBackend | LitestarBackend,
        *,
        channels: Iterable[str] | None = None,
        arbitrary_channels_allowed: bool = False,
        create_ws_route_handlers: bool = False,
        ws_handler_send_history: int = 0,
        ws_handler_base_path: str = "/",
        ws_send_mode: WebSocketMode = "text",
        subscriber_max_backlog: int | None = None,
        subscriber_backlog_strategy: Policy = "backoff",
        subscriber_class: type[Subscriber] = Subscriber,
        type_encoders: TypeEncodersMap | None = None,
        subscriber_max_backlog_bytes: int = 16 * 1024 * 1024,
        create_sse_route_handlers: bool = False,
        sse_handler_send_history: int = 0,
        sse_handler_base_path: str = "/",
        handler_guards: Sequence[Guard] = (),
        **hub_options: Unpack[HubOptions],
    ) -> None:
        _check_subscriber_class(subscriber_class)
        check_mode(ws_send_mode=ws_send_mode)
        names = tuple(dict.fromkeys(channels or ()))
        # Keeps what `encode_data()` needs, and starts nothing.
        super().__init__(
            backend,  # type: ignore[arg-type]
            channels=names,
            arbitrary_channels_allowed=arbitrary_channels_allowed,
            type_encoders=type_encoders,
        )
        self.hub = Channels(
            hub_backend(backend),
            channels=None if arbitrary_channels_allowed else names,
            max_backlog=subscriber_max_backlog or 1000,
            max_backlog_bytes=subscriber_max_backlog_bytes,
            policy=subscriber_backlog_strategy,
            **hub_options,
        )
        self.drain_timeout = hub_options.get("drain_timeout", 5.0)
        self.running: set[Subscriber] = set()
        self._joins_history = keeps_history(self.hub.backend)
        self._max_backlog = subscriber_max_backlog
        self._strategy: Policy = subscriber_backlog_strategy
        self._subscribers = subscriber_class
        self._names = names
        self._arbitrary = arbitrary_channels_allowed
        self._makes_handlers = create_ws_route_handlers
        self._base_path = _base_path(ws_handler_base_path)
        self._sockets = Settings(
            history=_history(ws_handler_send_history), mode=ws_send_mode, resumes=self._joins_history
        )
        self._events = (
            EventSettings(_base_path(sse_handler_base_path), _history(sse_handler_send_history))
            if create_sse_route_handlers
            else None
        )
        self._guards = list(handler_guards)
        self._started = False
        self._signals = ExitStack()

    def publish(self, data: LitestarEncodableType, channels: str | Iterable[str]) -> None:
        """Queue a publish, and return at once. May be called in any thread.

        It is sent in order, as `gapless.Channels.publish_nowait()` says. What fails later is logged, counted
        and given to `on_publish_error`.

        Raises:
            ChannelsException: A channel was not declared. Nothing is published.
            RuntimeError: The application has not started, or is shut down.
            BackendUnavailable: The queue is full. In another thread, it is an error like those that follow.
            TypeError, ValueError: `data` can't be encoded, or a name is none.
        """
        names = self._checked(channels)
        payload = self.encode_data(data)
        try:
            self.hub.publish_nowait(payload, names)
        except HubClosed as error:
            raise RuntimeError(
                "the plugin is not started: publish during the application's lifespan"
            ) from error

    async def wait_published(self, data: LitestarEncodableType, channels: str | Iterable[str]) -> None:
        """Publish, and return when the backend has confirmed it. Works without a started application, too.

        Raises:
            ChannelsException: A channel was not declared. Nothing was published.
            BackendError: As the backend's `publish()`.
            TypeError, ValueError: `data` can't be encoded, or a name is none.
        """
        names = self._checked(channels)
        payload = self.encode_data(data)
        if self._started:
            await self.hub.publish(payload, names)
        else:
            await self.hub.backend.publish(payload, names)

    async def __aenter__(self) -> Self:
        await self._on_startup()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self._on_shutdown()

    async def _on_startup(self) -> None:
        if not self._joins_history and (self._sockets.history or (self._events and self._events.history)):
            try:
                await self.hub.backend.get_history("", 0)
            except NotImplementedError as error:
                raise ImproperlyConfiguredException(f"no history for handlers to send: {error}") from error
            except BackendError as error:
                logger.debug("whether there is a history is unknown: %s", error)
        await self.hub.__aenter__()
        # Web servers wait for open responses before they end the lifespan; event streams have no end.
        self._signals.enter_context(ending_with_the_server(self.hub))
        self._started = True

    async def _on_shutdown(self) -> None:
        self._started = False
        self._signals.close()
        try:
            await self.hub.close()
        finally:
            running = list(self.running)
            for error in await asyncio.gather(*(each.stop() for each in running), return_exceptions=True):
                if error is not None:
                    logger.error("a subscriber's callback failed: %r", error)

    def _checked(self, channels: str | Iterable[str]) -> tuple[str, ...]:
        names = tuple(check_channels([channels] if isinstance(channels, str) else channels))
        for name in names:
            if not self._arbitrary and name not in self._names:
                raise ChannelsException(
                    f"unknown channel {name!r}: declare it, or set arbitrary_channels_allowed=True"
                )
        return names


def _check_subscriber_class(subscriber_class: type) -> None:
    if not issubclass(subscriber_class, Subscriber):
        raise ImproperlyConfiguredException(
            f"subscriber_class: {subscriber_class.__name__} has to be derived from "
            "gapless.integrations.litestar.Subscriber"
        )


def _base_path(path: str) -> str:
    return path.removesuffix("/") + "/"


def _history(count: int) -> int:
    return ALL_EVENTS if count < 0 else count
