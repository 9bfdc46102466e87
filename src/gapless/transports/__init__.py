"""How subscribers are served over the wire. Plain ASGI: no framework is needed, and none is imported."""
