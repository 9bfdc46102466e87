"""Decisions without I/O: no asyncio, socket, redis, clock or random in here."""
