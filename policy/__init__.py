"""Decisions by rule: pure, no input or output."""
