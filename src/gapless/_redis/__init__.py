"""Everything that talks to Redis or Valkey. The only folder that may import a client library."""
