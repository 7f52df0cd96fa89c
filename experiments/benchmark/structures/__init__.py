"""The benchmark structures."""
