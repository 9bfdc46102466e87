"""A chat on Litestar's `ChannelsPlugin`, whose Redis connection can be cut while one watches."""
