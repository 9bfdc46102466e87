"""For the tests of those who use gapless, or write a backend of their own."""

from gapless.testing.contract import BackendContract

__all__ = ["BackendContract"]
