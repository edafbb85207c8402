"""Vocabulary extension that is exact: training, merging, embedding rows, packed tokens."""
