"""The channel backends."""
