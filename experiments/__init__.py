"""Runnable experiments, one folder each: main.py (flags), config.py, train.py (the loop)."""
