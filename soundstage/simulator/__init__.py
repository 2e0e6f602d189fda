"""Telemetry of weeks in seconds: a seeded platform on a virtual clock, with faults and their ground truth. No process
runs and nothing is sent; what comes out is a recording (docs/recordings.md) that the product reads by path.
"""
