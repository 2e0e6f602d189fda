"""Anomaly detectors: one class per file, alike to use."""
