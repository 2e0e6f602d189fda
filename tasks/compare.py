"""Compare: what became of recorded cases before a change and after it; which got worse, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tasks.backtest import PastIncident
from tonewatch.cases import Expected
from tonewatch.errors import RecordingError
from tonewatch.topology import Topology

#: An incident may open so long before its known onset (a detector's window) and after its end (its echoes).
SLACK = timedelta(seconds=30)
#: Found later than before: by more than so many seconds and by more than this share is worse.
SLOWER_S, SLOWER_SHARE = 10.0, 0.5
#: The guardrail that asks for a yes.
CONSENT = "consent"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case. found_s: seconds from onset to the page, None: not found, or nothing was to be found.

    calm: nothing was; besides: pages that are not of what was wrong; findings, hash: of the whole replay. acts: the
    runbook that would have been carried out by itself, empty: none; refusals: the guardrails that said no to it.
    """

    case: str
    calm: bool
    found_s: float | None
    besides: int
    findings: int
    hash: str
    acts: str = ""
    refusals: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Outcome:
        """As `asdict` gives it. Raises RecordingError: it is none."""
        try:
            found = None if told["found_s"] is None else float(told["found_s"])
            return cls(
                str(told["case"]),
                bool(told["calm"]),
                found,
                int(told["besides"]),
                int(told["findings"]),
                str(told["hash"]),
                str(told.get("acts", "")),
                tuple(map(str, told.get("refusals", ()))),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordingError(f"this is no outcome of a case ({error!r}): {told}; run the cases anew") from error


@dataclass(frozen=True, slots=True)
class Compared:
    """worse, better: case -> in words what; same: cases without a difference; changed: whose findings differ at all."""

    worse: Mapping[str, str]
    better: Mapping[str, str]
    same: int
    changed: int

    @property
    def refused(self) -> bool:
        """Whether the change must not go live."""
        return bool(self.worse)


def outcome(
    case: str, expected: Expected | None, told: Iterable[PastIncident], topology: Topology, findings: int, hash_: str
) -> Outcome:
    """What the pages of a replay say of the case: found if one opened while it lasted, on its parts or related ones."""
    mine, besides = [], 0
    for each in told:
        if expected is not None and _belongs(each, expected, topology):
            mine.append((each.opened - expected.onset).total_seconds())
        else:
            besides += 1
    return Outcome(case, expected is None, min(mine, default=None), besides, findings, hash_)


def _belongs(each: PastIncident, expected: Expected, topology: Topology) -> bool:
    if not expected.onset - SLACK <= each.opened <= expected.until + SLACK:
        return False
    return any(one == other or topology.related(one, other) for one in each.entities for other in expected.entities)


def compare(before: Iterable[Outcome], after: Iterable[Outcome]) -> Compared:
    """Case by case; no case makes up for another. Raises RecordingError: they are not outcomes of the same cases."""
    old, new = ({each.case: each for each in some} for some in (before, after))
    if old.keys() != new.keys():
        strange = sorted(old.keys() ^ new.keys())
        raise RecordingError(
            f"not the same cases: {', '.join(strange[:5])} only in one of the two; run both on one library"
        )
    worse = {name: why for name in sorted(old) if (why := _worse(old[name], new[name]))}
    better = {
        name: why for name in sorted(old) if name not in worse and (why := _losses(new[name], old[name], turned=True))
    }
    changed = sum(old[name].hash != new[name].hash for name in old)
    return Compared(worse, better, len(old) - len(worse) - len(better), changed)


def _worse(old: Outcome, new: Outcome) -> str:
    """What is lost, and what would be done now that a guardrail kept from being done: not for want of a yes alone."""
    guards = [each for each in old.refusals if each != CONSENT]
    freed = f"{', '.join(guards)} said no -> {new.acts} by itself" if new.acts and not old.acts and guards else ""
    return ", ".join(filter(None, (_losses(old, new), freed)))


def _losses(good: Outcome, bad: Outcome, *, turned: bool = False) -> str:
    """In what `bad` is worse than `good`, in words; empty: in nothing. turned: the bad one is the earlier."""
    told = []
    if good.found_s is not None and (bad.found_s is None or _later(good.found_s, bad.found_s)):
        told.append((_found(good), _found(bad)))
    if bad.besides > good.besides:
        pages = "false pages" if bad.calm else "pages besides"
        told.append((f"{good.besides}", f"{bad.besides} {pages}"))
    if good.acts and not bad.acts and bad.found_s is not None:
        told.append((f"{good.acts} by itself", f"left to people ({', '.join(bad.refusals)})"))
    return ", ".join(f"{bad_} -> {good_}" if turned else f"{good_} -> {bad_}" for good_, bad_ in told)


def _later(early: float, late: float) -> bool:
    return late - early > max(SLOWER_S, SLOWER_SHARE * abs(early))


def _found(each: Outcome) -> str:
    return "missed" if each.found_s is None else f"found after {each.found_s:.0f} s"
