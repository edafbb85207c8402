"""Instruction data and instruction tuning."""
