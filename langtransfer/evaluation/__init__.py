"""Benchmarks, generation, judges, knowledge, perplexity, code-switching."""
