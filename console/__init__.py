"""The front door: command line, stack, watcher, demo."""
