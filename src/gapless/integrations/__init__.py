"""Web frameworks, each imported in its own file only."""
