"""Recurrent language models: train, score, generate."""
