"""The benchmark parser."""
