"""What of a tenant's profile a recording carries with it, so that a replay judges by the same."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from tonewatch.errors import RecordingError
from tonewatch.settings import Profile

#: What the rules and the models look at.
WATCHED = (
    *("tick_seconds", "scrape_seconds", "probe_seconds", "window_seconds", "debounce_windows"),
    *("scrapes_failed", "playlist_overdue_seconds", "silence_seconds"),
)


def watched(profile: Profile) -> dict[str, float]:
    """What of the profile a replay needs."""
    return {name: float(getattr(profile, name)) for name in WATCHED}


def judged_by(profile: Profile, told: Mapping[str, float]) -> Profile:
    """The profile with what a recording tells of its own. Raises RecordingError: a key or value that does not fit."""
    strange = sorted(set(told) - set(WATCHED))
    if strange:
        raise RecordingError(f"the recording is watched by {strange[0]!r}, which is none of {', '.join(WATCHED)}")
    try:
        return Profile.model_validate({**profile.model_dump(), **told})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "figures"  # a rule between keys has no place of its own
        raise RecordingError(f"the recording's {where}: {fault['msg']}") from error
