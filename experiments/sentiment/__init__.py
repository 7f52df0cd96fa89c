"""Sentiment trees by recursive neural tensor networks."""
