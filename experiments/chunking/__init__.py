"""Chunking by conditional random fields."""
