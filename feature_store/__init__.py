"""Features: definitions and the one windowing function for live and replay."""
