"""The nouns, settings, errors and the clock: imported by every room, importing none."""

__version__ = "0.1.0"
