"""Models and what surrounds them: detectors, calibration, causes, the registry."""
