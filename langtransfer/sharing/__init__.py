"""Finished cells between labs: git carries manifests, recipes and pointers; DVC carries data."""
