"""Tutorials: percent scripts that run as they are, in an editor that knows cells, or rendered."""
