"""Intervals, paired tests, corrections and power."""
