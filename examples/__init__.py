"""Applications to try and to copy from."""
