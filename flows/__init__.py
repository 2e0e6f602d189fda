"""An occasion per file: thin, the order of steps, retries, artifacts."""
