"""Tests; the folders mirror `rntn_jax`."""
