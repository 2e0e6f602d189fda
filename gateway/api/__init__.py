"""The door: what comes in over HTTP. `python -m gateway.api` serves it."""
