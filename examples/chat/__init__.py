"""A chat on `gapless.integrations.litestar`: cut its Redis connection, restart its web server, and watch."""
