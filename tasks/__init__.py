"""A step per file, named by its verb: read, call a pure function, write."""
