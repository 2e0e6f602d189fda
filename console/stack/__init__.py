"""The stack: the servers that the house stands on, started, supervised and taken down."""
