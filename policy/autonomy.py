"""How far a remedy may go by itself: what the owner has granted in writing (design: earned autonomy). Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from tonewatch.records import Cause
from tonewatch.settings import Grant, Profile

PROPOSE = "propose"
ACT = "act"


def granted(profile: Profile, runbook: str, cause: Cause) -> Grant | None:
    """The grant that covers this remedy for this cause, or None."""
    for grant in profile.grants:
        covers = grant.runbook == runbook and cause.kind in grant.causes
        if covers and any(fnmatchcase(cause.entity, pattern) for pattern in grant.entities):
            return grant
    return None
