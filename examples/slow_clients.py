"""WebSockets that are not read while 2,000 events are published: what they get under each policy."""

import asyncio
import json
import socket
from typing import get_args

import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gapless import Channels, Policy, RedisChannelsStreamBackend
from gapless.integrations.starlette import lifespan, serve_websocket

EVENTS = 2000
EVENT_BYTES = 4096
POLICIES: tuple[Policy, ...] = get_args(Policy)


def application(hub: Channels) -> Starlette:
    def route(policy: Policy) -> WebSocketRoute:
        async def ticks(websocket: WebSocket) -> None:
            await serve_websocket(websocket, hub, "ticks", policy=policy, max_backlog=500)

        return WebSocketRoute(f"/{policy}", ticks)

    return Starlette(routes=[route(policy) for policy in POLICIES], lifespan=lifespan(hub))


def limit(end: socket.socket, option: int) -> None:
    # Left to the system, the buffer might grow until there is room for all of these 8 MB.
    end.setsockopt(socket.SOL_SOCKET, option, 64 * 1024)


class Client:
    """It keeps the id of the last event that it has, and comes back with it when it was disconnected."""

    def __init__(self, port: int, policy: Policy) -> None:
        self.url = f"ws://127.0.0.1:{port}/{policy}"
        self.connected, self.may_read = asyncio.Event(), asyncio.Event()
        self.positions: dict[str, str] = {}
        self.received: list[range] = []
        self.lost = 0
        self.closed_with: int | None = None

    async def follow(self) -> None:
        while not self.has_all():
            # Compressed, these blanks would all fit into the buffers.
            async with connect(self.url, subprotocols=["gapless.v1"], compression=None) as server:
                limit(server.transport.get_extra_info("socket"), socket.SO_RCVBUF)
                await server.send(json.dumps({"after": self.positions}))
                self.positions = json.loads(await server.recv())["ready"]
                self.connected.set()
                await self.may_read.wait()
                try:
                    await self.read(server)
                except ConnectionClosed as end:
                    self.closed_with = end.rcvd.code if end.rcvd else 1006

    async def read(self, server: ClientConnection) -> None:
        while not self.has_all():
            message = json.loads(await server.recv())
            if "gap" in message:
                self.lost += message["gap"]["lost"]
            else:
                self.positions[message["channel"]] = message["id"]
                number = int(message["data"])
                follows = self.received and self.received[-1].stop == number
                first = self.received.pop().start if follows else number
                self.received.append(range(first, number + 1))

    def has_all(self) -> bool:
        return sum(map(len, self.received)) + self.lost >= EVENTS

    def __str__(self) -> str:
        numbers = " and ".join(f"{part[0]}-{part[-1]}" for part in self.received)
        closed = f", closed with {self.closed_with}" if self.closed_with else ""
        return f"received {numbers}, lost {self.lost}{closed}"


async def main(url: str = "redis://localhost:6379") -> None:
    redis = Redis.from_url(url)
    hub = Channels(RedisChannelsStreamBackend(history=EVENTS, redis=redis))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        limit(listener, socket.SO_SNDBUF)  # its connections inherit it
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(application(hub), log_level="warning"))
        clients = {"fast": Client(port, "spill")} | {policy: Client(port, policy) for policy in POLICIES}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listener]))
            following = {name: tasks.create_task(client.follow()) for name, client in clients.items()}
            for client in clients.values():
                await client.connected.wait()

            clients["fast"].may_read.set()
            for number in range(EVENTS):
                await hub.publish(str(number).ljust(EVENT_BYTES), "ticks")
                if hub.stats.disconnected:
                    # Who does not read on within 2 s finds the connection closed, and no code.
                    clients["disconnect"].may_read.set()
            await following["fast"]  # the others don't hold it back
            for client in clients.values():
                client.may_read.set()
            await asyncio.gather(*following.values())
            server.should_exit = True
    await redis.aclose()
    for name, client in clients.items():
        print(f"{name}: {client}")


if __name__ == "__main__":
    asyncio.run(main())
