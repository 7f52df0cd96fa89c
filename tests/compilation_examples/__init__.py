"""Calls of the public functions, for `tests/test_compilations.py`."""
