"""Language models beyond English: a reproducible study of language transfer."""

__version__ = "0.1.0"
