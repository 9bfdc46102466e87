"""Starlette and FastAPI: endpoints from which clients watch channels, and resume.

In a FastAPI route, where the application knows who asks:

    @app.get("/orders/{customer}/events")
    async def events(request: Request, customer: str) -> EventStream:
        return EventStream(request, hub, f"orders:{customer}")

Or `routes()`, where the client names the channels and a function of yours says whether it may.
"""

from gapless.integrations.starlette.endpoints import EventStream, serve_websocket
from gapless.integrations.starlette.lifespan import lifespan
from gapless.integrations.starlette.routes import allow_all, routes

__all__ = ["EventStream", "allow_all", "lifespan", "routes", "serve_websocket"]
