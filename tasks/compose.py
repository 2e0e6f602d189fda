"""Puts an incident into words for people: the texts of notices. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tonewatch.records import Action, ActionState, Cause, Incident, Outcome, Verdict

#: What a notice may tell of, and the word that its text begins with.
HEADLINES: Final = {
    "opened": "Opened",
    "acted": "Acted on",
    "mended": "Mended",
    "handed-over": "Over to you",
}
_EVIDENCE: Final = 5
_OTHER_CAUSES: Final = 2

Section = tuple[str, list[str]]


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of an incident at the moment of telling."""

    incident: Incident
    state: str
    causes: Sequence[Cause]
    actions: Sequence[Action]
    verdicts: Sequence[Verdict]
    now: datetime


def subject(story: Story) -> str:
    """The subject of the first notice; later ones repeat it, so that mail programs keep one thread."""
    return f"[Tonewatch] {story.incident.severity}: {story.incident.title}"


def plain(story: Story) -> str:
    """The text without markup."""
    parts = [f"{_headline(story)}\n"]
    for heading, lines in sections(story):
        parts.append(f"{heading}\n" + "".join(f"  {line}\n" for line in lines))
    return "\n".join(parts)


def rich(story: Story) -> str:
    """The same text as HTML; everything that came from outside is escaped."""
    parts = [f"<h2>{html.escape(_headline(story))}</h2>"]
    for heading, lines in sections(story):
        items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        parts.append(f"<h3>{html.escape(heading)}</h3><ul>{items}</ul>")
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><body>{"".join(parts)}</body></html>'


def sections(story: Story) -> list[Section]:
    """What, since when, listeners, cause, what was done, verdict, what you can do."""
    return [
        ("What", [story.incident.title, *_parts(story.incident)]),
        ("Since when", _since(story)),
        ("Listeners", _listeners(story.incident)),
        ("Cause", _cause(story.causes)),
        ("What was done", _done(story.actions)),
        ("Verdict", _verdict(story.verdicts)),
        ("What you can do", _advice(story)),
    ]


def _headline(story: Story) -> str:
    return f"{HEADLINES.get(story.state, story.state)}: {story.incident.title}"


def _parts(incident: Incident) -> list[str]:
    return [f"Parts: {', '.join(incident.entities)}"] if incident.entities else []


def _since(story: Story) -> list[str]:
    incident = story.incident
    lines = [f"{_at(incident.onset)}; noticed {_span((incident.opened - incident.onset).total_seconds())} later"]
    if incident.impact_ended is not None:
        lasted = (incident.impact_ended - (incident.impact_started or incident.onset)).total_seconds()
        lines.append(f"Sound was back at {_at(incident.impact_ended)}, after {_span(lasted)}")
    elif story.state != "opened":
        lines.append("It is not known yet that the impact has ended")
    return lines


def _listeners(incident: Incident) -> list[str]:
    basis = {"measured": "measured by players", "probe": "heard by probes alone"}.get(incident.loss_basis, "inferred")
    return [f"{incident.listener_minutes_lost:.1f} listener-minutes lost so far ({basis})"]


def _cause(causes: Sequence[Cause]) -> list[str]:
    if not causes:
        return ["Not known yet"]
    first, *others = sorted(causes, key=lambda cause: cause.rank)
    lines = [f"{first.name}, {first.confidence:.0%} sure", *(f"- {text}" for text in first.evidence[:_EVIDENCE])]
    if len(first.path) > 1:
        lines.append(f"Felt along {' > '.join(first.path)}")
    lines += [f"Less likely: {other.name}, {other.confidence:.0%}" for other in others[:_OTHER_CAUSES]]
    return lines


def _done(actions: Sequence[Action]) -> list[str]:
    if not actions:
        return ["Nothing"]
    return [line for action in actions for line in _action(action)]


def _action(action: Action) -> list[str]:
    words = {
        ActionState.INTENDED: "about to begin",
        ActionState.STARTED: "under way",
        ActionState.FINISHED: "carried out",
        ActionState.FAILED: "failed",
        ActionState.REFUSED: "not carried out",
    }
    when = action.finished or action.started or action.intended
    told = f"{action.runbook} of {action.target}: {words[action.state]}" + (f" at {_at(when)}" if when else "")
    lines = [told + (f" ({action.detail})" if action.detail else "")]
    lines += [f"- {answer.guard} said no: {answer.reason}" for answer in action.guards if not answer.allowed]
    if action.state is ActionState.FINISHED and action.undo:
        lines.append(f"- To undo it: {action.undo}")
    return lines


def _verdict(verdicts: Sequence[Verdict]) -> list[str]:
    words = {
        Outcome.WORKED: "The remedy worked",
        Outcome.HARMED: "The remedy did harm",
        Outcome.INCONCLUSIVE: "It cannot be said whether the remedy worked",
    }
    if not verdicts:
        return ["None yet"]
    last = max(verdicts, key=lambda verdict: verdict.decided)
    control = (
        "held against an untouched part" if last.controlled else "uncontrolled: there was nothing to hold it against"
    )
    return [f"{words[last.outcome]} ({control})", *([last.reason] if last.reason else [])]


def _advice(story: Story) -> list[str]:
    if story.state == "handed-over":
        wanted = [f"Consider: {action.runbook} of {action.target}" for action in story.actions if _is_open(action)]
        return [
            *wanted,
            "Tonewatch will not act further on this incident. `tonewatch status` shows how the platform is",
        ]
    if story.state == "mended":
        return ["Nothing; the incident's report has the whole story"]
    return ["Nothing yet; `tonewatch status` shows how the platform is"]


def _is_open(action: Action) -> bool:
    return action.state in {ActionState.REFUSED, ActionState.FAILED}


def _at(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(seconds, 0.0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
