"""Upstream benchmarks as this project's files: questions, task folders, held-out text."""
