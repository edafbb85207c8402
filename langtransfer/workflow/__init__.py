"""The study as a graph of cells, and the verbs that act on it."""
