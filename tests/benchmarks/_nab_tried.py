"""What was tried on the way, for the page of results."""

TRIED = """\
"""
