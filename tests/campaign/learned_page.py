"""What the campaign `learned` came to: figures, and the page for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.benchmarks import _published
from tests.campaign.calm import commit
from tests.campaign.chain import Page, per_week
from tonewatch.settings import Profile

#: Every step of the chain, in its order, and what each comes to.
STEPS = {
    "champions": "the first models are champions",
    "shape": "the audience's shape changes for good",
    "drift": "drift is told",
    "retraining": "the retraining is handed to Prefect",
    "challenger": "the challenger is validated",
    "verdict": "the validation has ended",
    "promotion": "the challenger is champion",
    "taken up": "the watcher scores with it",
    "budget": "pages are back in budget",
    "sabotage": "a sabotaged challenger is put beside",
    "rejection": "it is not promoted",
}
#: A run with more starved seconds than this share is void.
MOST_STARVED = 0.05


@dataclass(frozen=True, slots=True)
class Told:
    """All that was seen. reached: step -> {day, at, words, ...}; missed: the first step that was not, and why; moments:
    between which pages are counted; runs, models: see tests/campaign/timekeeper.py and chain.py; late: turns that took
    longer than there was time for.
    """

    reached: Mapping[str, Mapping[str, Any]]
    missed: str
    moments: Mapping[str, datetime]
    pages: Sequence[Page]
    runs: Sequence[Mapping[str, Any]]
    models: Sequence[Mapping[str, Any]]
    starved_s: float
    late: int
    profile: Profile

    def counted(self) -> dict[str, dict[str, float]]:
        """Pages before the change, until the new champion was taken up, and afterwards."""
        opened, week = [each.incident.opened for each in self.pages], self.profile.budget.week_seconds
        names = ("champions", "changed", "taken", "end")
        marks = [self.moments[name] for name in names if name in self.moments]
        phases = ("calm", "drifted", "after")
        return {
            phase: per_week(opened, start, end, week)
            for phase, start, end in zip(phases, marks, marks[1:], strict=False)
        }


def publish(told: Told, seed: int, seconds: float, path: Path) -> Mapping[str, Any]:
    """Write the result and its page; the figures."""
    figures, budget = figures_of(told), told.profile.budget
    document = {
        "figures": figures,
        "baselines": {},
        "goals": {
            "steps": f"must be {len(STEPS)} of {len(STEPS)}",
            "validation": "capped at 20 compressed days",
            "pages_week_after": f"at most {budget.pages_per_week:g}",
            "sabotage_promoted": 0,
            "starved_share": f"at most {MOST_STARVED:g}, or the run is void",
        },
        "data": f"the live soundstage, a compressed day of {told.profile.day_seconds:g} s, 2 channels, 20 players",
        "seed": seed,
        "commit": commit(),
        "missed": told.missed,
        "steps": told.reached,
        "counted": told.counted(),
        "pages": [_page_row(each) for each in told.pages],
        "runs": told.runs,
        "models": told.models,
    }
    _published.publish(document, seconds, path, page)
    return figures


def figures_of(told: Told) -> dict[str, Any]:
    """The figures: moments in compressed days after the change, pages a compressed week."""
    changed = told.reached.get("shape", {}).get("day")
    days = {
        f"{name.replace(' ', '_')}_days": round(told.reached[name]["day"] - changed, 2)
        for name in ("drift", "retraining", "challenger", "verdict", "promotion", "taken up")
        if changed is not None and name in told.reached
    }
    pages = {f"pages_week_{phase}": each["pages_per_week"] for phase, each in told.counted().items()}
    lasted = (told.moments["end"] - told.moments["champions"]).total_seconds()
    answer = told.reached.get("rejection", {}).get("answer", "")
    return {
        "steps": f"{sum(name in told.reached for name in STEPS)} of {len(STEPS)}",
        **days,
        **pages,
        "sabotage_answer": answer,
        "sabotage_promoted": int("sabotaged" in told.missed),
        "runs": dict(Counter(str(each["deployment"]) for each in told.runs)),
        "runs_failed": sum(each["state"] != "Completed" for each in told.runs),
        "versions": len(told.models),
        "starved_s": round(told.starved_s, 1),
        "starved_share": round(told.starved_s / lasted, 4) if lasted else 0.0,
        "late_turns": told.late,
    }


def _page_row(of: Page) -> dict[str, Any]:
    one = of.incident
    return {
        "opened": one.opened.isoformat(),
        "closed": one.closed.isoformat() if one.closed else None,
        "state": str(one.state),
        "title": one.title,
        "entities": list(one.entities),
        "told_by": list(of.told_by),
    }


def page(document: Mapping[str, Any]) -> str:
    """The page for people."""
    lines = [
        "# The chain of models on the live soundstage",
        "",
        f"{document['data']}; commit {document['commit']}; {document['machine']}; {document['seconds'] / 60:.0f} min; "
        f"{document['date']}. Made by `make learned`, seed {document['seed']}.",
        "",
        "Unattended: the campaign changes what the audience listens to, registers the sabotaged version, and starts "
        "Prefect's deployments as their schedules say, 960 times faster, but none more often than every two compressed "
        "days: each run is a process of its own, and hourly ones do not fit into 3.75 s. All else happens by itself.",
        "",
    ]
    if document["missed"]:
        lines += [f"**Not reached: {document['missed']}**", ""]
    return "\n".join([*lines, *_steps(document), *_counted(document), *_pages(document), *_runs(document)]) + "\n"


def _steps(document: Mapping[str, Any]) -> list[str]:
    lines = ["| step | compressed day | what was seen |", "|---|---|---|"]
    for name, words in STEPS.items():
        told = document["steps"].get(name)
        seen = _cell(told["words"]) if told else "not reached"
        lines.append(f"| {words} | {told['day'] if told else '-'} | {seen} |")
    return [*lines, ""]


def _counted(document: Mapping[str, Any]) -> list[str]:
    lines = ["| stretch | pages | compressed weeks | pages a week | budget |", "|---|---|---|---|---|"]
    budget = document["goals"]["pages_week_after"]
    for phase, each in document["counted"].items():
        lines.append(f"| {phase} | {each['pages']} | {each['weeks']} | {each['pages_per_week']} | {budget} |")
    starved = document["figures"]["starved_s"], document["figures"]["starved_share"]
    return [*lines, "", f"The watcher's machine was starved for {starved[0]} s, a share of {starved[1]}.", ""]


def _pages(document: Mapping[str, Any]) -> list[str]:
    lines = ["| opened | state | page | told by |", "|---|---|---|---|"]
    for each in document["pages"]:
        lines.append(
            f"| {each['opened'][11:19]} | {each['state']} | {_cell(each['title'])} | {', '.join(each['told_by'])} |"
        )
    return [*lines, ""] if document["pages"] else ["No page was sent at any time.", ""]


def _runs(document: Mapping[str, Any]) -> list[str]:
    lines = [
        "Runs in Prefect:",
        "",
        "| deployment | runs | completed | seconds, median and most |",
        "|---|---|---|---|",
    ]
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for each in document["runs"]:
        by_name.setdefault(each["deployment"], []).append(each)
    for name, mine in sorted(by_name.items()):
        seconds = sorted(each["seconds"] for each in mine)
        completed = sum(each["state"] == "Completed" for each in mine)
        lines.append(f"| {name} | {len(mine)} | {completed} | {seconds[len(seconds) // 2]}, {seconds[-1]} |")
    lines += [
        "",
        "Versions in MLflow:",
        "",
        "| family | version | standing | gate | MLflow run |",
        "|---|---|---|---|---|",
    ]
    for each in document["models"]:
        standing = "judges" if each["judges"] else ", ".join(each["aliases"]) or "-"
        gate = _cell(f"{each['gate']}: {each['gate_reason']}")
        lines.append(f"| {each['family']} | {each['version']} | {standing} | {gate} | `{each['run']}` |")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
