"""How far a remedy may go by itself: what the owner has granted in writing (design: earned autonomy). Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from tonewatch.records import Cause
from tonewatch.settings import Grant, Profile

PROPOSE = "propose"
ACT = "act"


def granted(profile: Profile, runbook: str, cause: Cause) -> Grant | None:
    """The grant that covers this remedy for this cause, or None."""
    return next((grant for grant in profile.grants if covers(grant, runbook, cause)), None)


def covers(grant: Grant, runbook: str, cause: Cause) -> bool:
    """Whether the owner's word is about this remedy, this kind of cause and this part."""
    about = grant.runbook == runbook and cause.kind in grant.causes
    return about and any(fnmatchcase(cause.entity, pattern) for pattern in grant.entities)
