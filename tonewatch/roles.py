"""What holders of a key, and people, may do: scopes of what comes in, and roles of those who ask and act."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: A role holds what those named beside it may, too.
ROLES: Final = {
    "viewer": ("viewer",),  # asks
    "auditor": ("auditor", "viewer"),  # asks for the audit besides
    "operator": ("operator", "viewer"),  # acknowledges, vetoes, closes
    "approver": ("approver", "operator", "viewer"),  # says yes to a remedy
    "admin": ("admin", "approver", "auditor", "operator", "viewer"),
}


def held(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes with all that their roles hold."""
    return frozenset(each for scope in scopes for each in ROLES.get(scope, (scope,)))
