"""The benchmark tagger."""
