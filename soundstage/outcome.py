"""What a fault cost the listeners, by the players' own records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from soundstage import injection, records
from soundstage.records import Stretch


@dataclass(frozen=True)
class Outcome:
    """Seconds count from the injection. ended is 0 if nobody lost sound, None if sound is still missing."""

    impact_started_s: float | None
    impact_ended_s: float | None
    listener_minutes_lost: float


def attributable(
    stretches: Iterable[Stretch], injected: datetime, until: datetime, channels: Sequence[str]
) -> list[Stretch]:
    """The stretches that began in [injected, until), of the given channels (none given: of all)."""
    return [
        stretch
        for stretch in stretches
        if injected <= stretch.start < until and (not channels or stretch.channel in channels)
    ]


def judge(stretches: Sequence[Stretch], injected: datetime, until: datetime) -> Outcome:
    """The outcome as of `until`: what ended later counts as still missing."""
    if not stretches:
        return Outcome(None, 0.0, 0.0)
    ends = [until if stretch.end is None or stretch.end > until else stretch.end for stretch in stretches]
    lost_s = sum((end - stretch.start).total_seconds() for stretch, end in zip(stretches, ends, strict=True))
    missing = any(stretch.end is None or stretch.end > until for stretch in stretches)
    started = min(stretch.start for stretch in stretches)
    return Outcome(
        impact_started_s=round((started - injected).total_seconds(), 3),
        impact_ended_s=None if missing else round((max(ends) - injected).total_seconds(), 3),
        listener_minutes_lost=round(lost_s / 60, 4),
    )


def of_fault(identifier: str, folder: Path, until: datetime | None = None) -> Outcome:
    """The outcome of an injected fault.

    Without `until`: as of now, or as of the next fault's injection where there was one. Raises NotRunning, Malformed.
    """
    record = injection.find(identifier, folder)
    injected = datetime.fromisoformat(record["injected"])
    others = (datetime.fromisoformat(other["injected"]) for other in injection.truths(folder).values())
    end = until or min((other for other in others if other > injected), default=datetime.now(UTC))
    channels = [entity for entity in record["path"] if entity.startswith("channel:")]
    stretches = records.read(folder / "players.jsonl")
    return judge(attributable(stretches, injected, end, channels), injected, end)
