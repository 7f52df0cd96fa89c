"""The benchmark rntn."""
