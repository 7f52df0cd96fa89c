"""The benchmark graphs."""
