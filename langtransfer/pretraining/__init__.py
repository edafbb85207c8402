"""Base models and further pretraining on budgets of one deterministic stream."""
