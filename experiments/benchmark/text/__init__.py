"""The benchmark text."""
