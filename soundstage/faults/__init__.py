"""Faults of the real platform, one per file, each with its ground truth. The contract is docs/faults.md."""
