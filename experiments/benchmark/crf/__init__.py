"""The benchmark crf."""
