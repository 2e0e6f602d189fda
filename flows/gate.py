"""The replay gate: recorded incidents and calm periods, watched again as before a change and as after it.

What got worse is named, and refuses the change: no incident that is found better makes up for one that is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from flows.backtest import pages
from flows.replay import replay
from ml.champion import Champion
from tasks.compare import Outcome, outcome
from tonewatch.cases import Case
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from tonewatch.watched import judged_by

Say = Callable[[str], None]
#: What of a recording's own is how it was read. The rest is judgement: a change of the profile may change it.
READ = ("tick_seconds", "scrape_seconds", "probe_seconds")


@dataclass(frozen=True, slots=True)
class Judges:
    """By what cases are judged. profile: in place of the case's own; champions: by family, none: rules alone."""

    champions: Mapping[str, Champion]
    profile: Profile | None = None

    def told(self) -> dict[str, Any]:
        """For a record: versions by family, and the whole profile where it is not the cases' own."""
        versions = {family: each.version for family, each in sorted(self.champions.items())}
        return {"models": versions, "profile": None if self.profile is None else self.profile.model_dump(mode="json")}


def judge_case(case: Case, judges: Judges) -> Outcome:
    """Replay a case. Raises RecordingError: it is damaged, or was changed."""
    kept = case.recording()
    recording = replace(kept, watched={name: value for name, value in kept.watched.items() if name in READ})
    profile = judged_by(judges.profile or case.profile, recording.watched)
    found = replay(recording, profile, judges.champions)
    topology = Topology(recording.entities)
    told = pages(found, topology, recording.changes, recording.end, profile)
    return outcome(case.name, case.expected, told, topology, len(found.findings), found.hash)


def judge_all(cases: Sequence[Case], judges: Judges, say: Say = lambda _: None) -> list[Outcome]:
    """Replay them one after the other. Raises RecordingError: one is damaged; nothing is told of half a library."""
    told = []
    for number, case in enumerate(cases, start=1):
        told.append(judge_case(case, judges))
        if number % 10 == 0 or number == len(cases):
            say(f"{number} of {len(cases)} cases replayed")
    return told


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """In short: how many there were, were found and how soon, and pages that were none of theirs."""
    wrong = [each for each in outcomes if not each.calm]
    delays = sorted(each.found_s for each in wrong if each.found_s is not None)
    return {
        "cases": float(len(outcomes)),
        "incidents": float(len(wrong)),
        "found": float(len(delays)),
        "median_found_s": delays[len(delays) // 2] if delays else float("nan"),
        "pages_besides": float(sum(each.besides for each in wrong)),
        "false_pages_in_calm": float(sum(each.besides for each in outcomes if each.calm)),
    }


def document(outcomes: Sequence[Outcome], judges: Judges) -> dict[str, Any]:
    """All of it as JSON."""
    return {"judges": judges.told(), "figures": figures(outcomes), "outcomes": [asdict(each) for each in outcomes]}
