"""What is wrong with a playlist, seen in two successive fetches of it. Pure.

The first seven kinds are those of Eyevinn's hls-monitor; the rest are rules of RFC 8216 that it does not check.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.sources.playlist import MediaPlaylist, Segment

#: Two date-times may differ by so much from what the durations say (seconds): an encoder's rounding, not a gap.
DATE_TIME_TOLERANCE = 0.25
#: A window holds at least so many target durations once segments are removed from it (RFC 8216 6.2.2).
LEAST_WINDOW = 3


class PlaylistFaultKind(StrEnum):
    """Which rule a playlist broke."""

    RETRIEVAL = "retrieval"
    MEDIA_SEQUENCE = "media-sequence"
    PLAYLIST_SIZE = "playlist-size"
    PLAYLIST_CONTENT = "playlist-content"
    CONTINUITY = "continuity"
    DISCONTINUITY_SEQUENCE = "discontinuity-sequence"
    STALE = "stale"
    DATE_TIME_GAP = "date-time-gap"
    SEGMENT_TOO_LONG = "segment-too-long"
    SHORT_WINDOW = "short-window"
    TARGET_DURATION = "target-duration"
    SYNTAX = "syntax"
    SEGMENT = "segment"  # a segment that could not be fetched or decoded as promised


@dataclass(frozen=True, slots=True)
class PlaylistFault:
    """One broken rule, told in one sentence."""

    kind: PlaylistFaultKind
    message: str
    sequence: int | None = None


def check(before: MediaPlaylist | None, after: MediaPlaylist) -> list[PlaylistFault]:
    """The rules that `after` breaks, alone (`before` None) or as the successor of `before`; nothing is told twice."""
    fresh = _fresh(before, after)
    faults = [*_unreadable(before, after), *_too_long(after, fresh), *_date_time_gaps(before, after, fresh)]
    if before is not None:
        faults += [*_succession(before, after), *_discontinuities(before, after), *_window(before, after)]
    return faults


def _fresh(before: MediaPlaylist | None, after: MediaPlaylist) -> Sequence[Segment]:
    """The segments that `before` did not hold; all of them when the numbering began anew."""
    newest = before.newest if before is not None else None
    if newest is None or before is None or after.sequence < before.sequence:
        return after.segments
    return [segment for segment in after.segments if segment.sequence > newest.sequence]


def _unreadable(before: MediaPlaylist | None, after: MediaPlaylist) -> Iterator[PlaylistFault]:
    known = {problem.partition(": ")[2] for problem in before.problems} if before is not None else set()
    for problem in after.problems:
        if problem.partition(": ")[2] not in known:
            yield PlaylistFault(PlaylistFaultKind.SYNTAX, problem)
    if before is not None and before.target_duration != after.target_duration:
        message = f"the target duration changed from {before.target_duration:g} to {after.target_duration:g} s"
        yield PlaylistFault(PlaylistFaultKind.TARGET_DURATION, message)


def _too_long(after: MediaPlaylist, fresh: Sequence[Segment]) -> Iterator[PlaylistFault]:
    for segment in fresh:
        if int(segment.duration + 0.5) > after.target_duration:
            message = f"segment {segment.sequence} lasts {segment.duration:g} s, more than {after.target_duration:g} s"
            yield PlaylistFault(PlaylistFaultKind.SEGMENT_TOO_LONG, message, segment.sequence)


def _date_time_gaps(
    before: MediaPlaylist | None, after: MediaPlaylist, fresh: Sequence[Segment]
) -> Iterator[PlaylistFault]:
    known = {segment.sequence: segment for segment in (*(before.segments if before is not None else ()), *fresh)}
    for segment in fresh:
        earlier = known.get(segment.sequence - 1)
        if earlier is None or earlier.ended is None or segment.started is None or segment.discontinuity:
            continue
        gap = (segment.started - earlier.ended).total_seconds()
        if abs(gap) > DATE_TIME_TOLERANCE:
            message = f"segment {segment.sequence} begins {gap:+.2f} s from where the one before it ended"
            yield PlaylistFault(PlaylistFaultKind.DATE_TIME_GAP, message, segment.sequence)


def _succession(before: MediaPlaylist, after: MediaPlaylist) -> Iterator[PlaylistFault]:
    step = after.sequence - before.sequence
    if step < 0:
        message = f"the media sequence went back from {before.sequence} to {after.sequence}"
        yield PlaylistFault(PlaylistFaultKind.MEDIA_SEQUENCE, message, after.sequence)
    elif step == 0:
        yield from _same_window(before, after)
    elif step < len(before.segments) and after.segments:
        expected, actual = before.segments[step].uri, after.segments[0].uri
        if expected != actual:
            message = f"after {step} removed segments the first should be {_name(expected)}, but is {_name(actual)}"
            yield PlaylistFault(PlaylistFaultKind.CONTINUITY, message, after.sequence)


def _same_window(before: MediaPlaylist, after: MediaPlaylist) -> Iterator[PlaylistFault]:
    if len(after.segments) < len(before.segments):
        message = f"{len(before.segments)} segments became {len(after.segments)} under the same media sequence"
        yield PlaylistFault(PlaylistFaultKind.PLAYLIST_SIZE, message, after.sequence)
    for old, new in zip(before.segments, after.segments, strict=False):
        if old.uri != new.uri:
            message = f"segment {old.sequence} was {_name(old.uri)} and is now {_name(new.uri)}"
            yield PlaylistFault(PlaylistFaultKind.PLAYLIST_CONTENT, message, old.sequence)
            return


def _discontinuities(before: MediaPlaylist, after: MediaPlaylist) -> Iterator[PlaylistFault]:
    step = after.sequence - before.sequence
    if step < 0:
        return
    removed = sum(segment.discontinuity for segment in before.segments[:step])
    expected = before.discontinuity_sequence + removed
    # Beyond what `before` held, discontinuities that we never saw may have come and gone.
    wrong = (
        after.discontinuity_sequence < expected
        if step >= len(before.segments)
        else (after.discontinuity_sequence != expected)
    )
    if wrong:
        message = f"the discontinuity sequence is {after.discontinuity_sequence} and should be {expected}"
        yield PlaylistFault(PlaylistFaultKind.DISCONTINUITY_SEQUENCE, message, after.sequence)


def _window(before: MediaPlaylist, after: MediaPlaylist) -> Iterator[PlaylistFault]:
    def short(playlist: MediaPlaylist) -> bool:
        return playlist.window_s < LEAST_WINDOW * playlist.target_duration - 1

    removed = after.sequence > before.sequence and not after.ended
    if removed and short(after):
        message = (
            f"the window is {after.window_s:.1f} s, less than three target durations of {after.target_duration:g} s"
        )
        yield PlaylistFault(PlaylistFaultKind.SHORT_WINDOW, message, after.sequence)


def _name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1][:80]
