"""Dependency parsing by transitions."""
