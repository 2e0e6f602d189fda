"""Puts an incident into words for people: the texts of notices. Pure."""

from __future__ import annotations

import html
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from gateway.links import HEADING, place
from policy import runbooks
from tonewatch.acts import REQUESTER, requester
from tonewatch.records import (
    Action,
    ActionState,
    ActKind,
    Cause,
    GuardAnswer,
    Incident,
    IncidentState,
    Notice,
    Outcome,
    Verdict,
)
from warehouse.sessions import Audience

#: What a notice may tell of, and the word that its text begins with.
HEADLINES: Final = {
    "opened": "Opened",
    "proposed": "Proposed",
    "acted": "Acted on",
    "mended": "Mended",
    "handed-over": "Over to you",
    "over": "Over by itself",
}
#: The ends that are good: nothing waits for anybody any more.
GOOD_ENDS: Final = frozenset({"mended", "over"})
#: How listener-minutes are known, in words.
BASES: Final = {
    "measured": "measured by players",
    "inferred": "inferred from how many listened before",
    "probe": "heard by probes alone",
}
_EVIDENCE: Final = 5
_OTHER_CAUSES: Final = 2
_HERE_ONLY: Final = (
    "These links work on the machine of Tonewatch alone: TONEWATCH_GATEWAY_URL is not set to where people reach it"
)
_CLOSING: Final = "</body></html>"

Section = tuple[str, list[str]]


@dataclass(frozen=True, slots=True)
class Ways:
    """How who gets a notice can answer it."""

    links: bool = False  # by links that are written as it leaves
    here_only: bool = False  # they lead to this machine alone
    state_dir: str = ""  # the folder that commands must be told; empty: they find it

    @property
    def where(self) -> str:
        """What a command must say of the state folder."""
        return where(self.state_dir)


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of an incident at the moment of telling."""

    incident: Incident
    state: str
    causes: Sequence[Cause]
    actions: Sequence[Action]
    verdicts: Sequence[Verdict]
    now: datetime
    audience: Sequence[Audience] = ()  # of the channels that feel it, since the onset
    level: str = "L1"
    unanswered_since: datetime | None = None  # told because nobody has answered since then
    ways: Ways = Ways()


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
    parts += [_as_html(section) for section in sections(story)]
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><body>{"".join(parts)}{_CLOSING}'


def sections(story: Story) -> list[Section]:
    """What, since when, listeners, cause, what was done, verdict, what you can do."""
    return [
        ("What", [story.incident.title, *_parts(story.incident)]),
        ("Since when", _since(story)),
        ("Listeners", _listeners(story)),
        ("Cause", _cause(story.causes)),
        ("What was done", _done(story.actions)),
        *([("Proposal", _proposal(waiting))] if (waiting := _waiting(story)) else []),
        ("Verdict", _verdict(story.verdicts)),
        ("What you can do", _advice(story, waiting)),
        *([(HEADING, _clicks(story, waiting))] if story.ways.links and story.state not in GOOD_ENDS else []),
    ]


def collected(notice: Notice, earlier: Sequence[Notice], *, first: bool) -> Notice:
    """The notice with a word on the `earlier` ones that it stands for; `first`: nothing of its thread went out yet."""
    told = ", ".join(f"{each.incident_state} at {_at(each.created)}" for each in earlier if each.created)
    section = ("Told late", [f"{notice.channel} was away; this message stands also for: {told}"])
    body = f"{notice.body}\n{section[0]}\n  {section[1][0]}\n"
    page = notice.html.removesuffix(_CLOSING) + _as_html(section) + _CLOSING if notice.html else ""
    heading = notice.subject.removeprefix("Re: ") if first else notice.subject
    return replace(notice, subject=heading, body=body, html=page)


def _as_html(section: Section) -> str:
    heading, lines = section
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h3>{html.escape(heading)}</h3><ul>{items}</ul>"


def _headline(story: Story) -> str:
    told = f"{HEADLINES.get(story.state, story.state)}: {story.incident.title}"
    if story.unanswered_since is None:
        return told
    waited = (story.now - story.unanswered_since).total_seconds()
    return f"{story.level}, unanswered for {_span(waited)}. {told}"


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


def _listeners(story: Story) -> list[str]:
    incident = story.incident
    basis = BASES.get(incident.loss_basis, incident.loss_basis)
    lost = f"{incident.listener_minutes_lost:.1f} listener-minutes lost so far ({basis})"
    everybody = sum(each.sessions for each in story.audience)
    if not everybody:
        return _without_players(incident, lost)
    hit = sum(each.hit for each in story.audience)
    channels = [f"{each.channel} {each.hit} of {each.sessions}" for each in story.audience]
    return [f"{hit} of {everybody} sessions have lost sound since the onset: {', '.join(channels)}", lost]


def _without_players(incident: Incident, lost: str) -> list[str]:
    if incident.loss_basis != "inferred":
        return ["No player has reported since the onset", lost]
    if not incident.listener_minutes_lost:
        return ["No player has reported since the onset: what it has cost is not known yet"]
    return ["Players send no reports: who listened is told by the server's own count", lost]


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
    lines += [f"- {_answer(answer)}" for answer in action.guards if not answer.allowed]
    if action.state is ActionState.FINISHED and action.undo:
        lines.append(f"- To undo it: {action.undo}")
    return lines


def _answer(answer: GuardAnswer) -> str:
    return f"{answer.guard} said {'yes' if answer.allowed else 'no'}: {answer.reason}"


def _waiting(story: Story) -> Action | None:
    """The action that a person may still say yes or no to: the newest one, not begun."""
    if story.incident.state in {IncidentState.MENDED, IncidentState.CLOSED} or story.state in GOOD_ENDS:
        return None
    last = story.actions[-1] if story.actions else None
    return last if last and last.state in {ActionState.REFUSED, ActionState.INTENDED} else None


def _proposal(action: Action) -> list[str]:
    """What it would do, and what each guard said of it."""
    lines = [f"{action.runbook} of {action.target} (attempt {action.attempt}, autonomy {action.autonomy})"]
    lines += [f"- with {name} = {value}" for name, value in action.parameters.items()]
    lines += [f"- {_answer(answer)}" for answer in action.guards]
    return [*lines, *([f"- To undo it: {action.undo}"] if action.undo else [])]


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


def _advice(story: Story, waiting: Action | None) -> list[str]:
    lines = [line for action in story.actions for line in _after(action)]
    if story.state == "over":
        lines.append(_close(story, "says what it was"))
    if story.state in GOOD_ENDS:
        return [*lines, _command(story, "show", "has the whole story", ""), *_nothing_left(lines)]
    if waiting is not None:
        lines += _say_yes_or_no(story, waiting)
    elif story.state == "handed-over":
        lines += [f"Consider: {a.runbook} of {a.target}" for a in story.actions if a.state is ActionState.FAILED]
    lines.append(_command(story, "ack", "says that you are at it: nobody further is called"))
    if story.state == "handed-over":
        lines += [
            _close(story, "ends it and says what it was"),
            "Tonewatch will not act further on this incident unless you say so",
        ]
    return [
        *lines,
        _command(story, "show", f"has the whole story; `tonewatch status{story.ways.where}` shows the platform", ""),
    ]


def _clicks(story: Story, waiting: Action | None) -> list[str]:
    """Places for links: the channel writes them for whom it tells."""
    lines = ["For 24 hours, once, and in your name: forward them to nobody", f"Acknowledge: {place(ActKind.ACK)}"]
    if story.ways.here_only:
        lines.insert(0, _HERE_ONLY)
    judging = _judging(story)
    if waiting is None:
        return [*lines, *judging]
    what = f"{waiting.runbook} of {waiting.target}"
    if waiting.state is ActionState.REFUSED and _one_click_is_enough(waiting):
        lines.append(f"Approve {what}: {place(ActKind.APPROVE, waiting.key)}")
    return [*lines, f"Veto {what}: {place(ActKind.VETO, waiting.key)}", *judging]


def _judging(story: Story) -> list[str]:
    """Who takes an incident over sees what it was: that is when to ask."""
    if story.state != "handed-over":
        return []
    lines = [f"It was a false alarm: {place(ActKind.FALSE)}", f"It was real: {place(ActKind.REAL)}"]
    return [*lines, *([f"That is not the cause: {place(ActKind.NOT_THE_CAUSE)}"] if story.causes else [])]


def _one_click_is_enough(action: Action) -> bool:
    """Whether a yes may come by a link: nobody but us asked for the action, and it wants no second person. A link knows
    an address, and can not tell whether two of them are one person's.
    """
    runbook = runbooks.named(action.runbook)
    return requester(action) == REQUESTER and runbook is not None and runbook.risk is not runbooks.Risk.HIGH


def _nothing_left(lines: Sequence[str]) -> list[str]:
    return [] if lines else ["Nothing else is to be done"]


def _say_yes_or_no(story: Story, action: Action) -> list[str]:
    what = f"{action.runbook} of {action.target}"
    if action.state is ActionState.INTENDED:
        return [_command(story, "veto", f"stops {what} before it begins")]
    return [
        f"Consider: {what}",
        _command(story, "approve", "says yes, once and not for long; every other guard is asked again"),
        _command(story, "veto", "says no to it"),
    ]


def _command(story: Story, act: str, what: str, further: str = ' --reason "..."') -> str:
    incident = story.incident
    return f"`tonewatch incidents {act} {incident.id} --tenant {incident.tenant}{story.ways.where}{further}` {what}"


def where(state_dir: str) -> str:
    """What a command must be told of this state folder; nothing, when it is empty: commands find it."""
    return f" --state-dir {shlex.quote(state_dir)}" if state_dir else ""


def _close(story: Story, what: str) -> str:
    incident, verdicts = story.incident, "real|false-alarm|planned"
    told = f"{incident.id} --verdict {verdicts} --tenant {incident.tenant}{story.ways.where}"
    return f"`tonewatch incidents close {told}` {what}"


def _after(action: Action) -> list[str]:
    """What stays to be done by a person after a remedy that takes something away."""
    if action.runbook != "drain" or action.state is not ActionState.FINISHED:
        return []
    name = action.target.partition(":")[2]
    return [
        f"{action.target} gets no listeners until you admit it again. When it is well: "
        f"`curl -u USER:PASSWORD -X POST ROUTING/admit/{name}`, where ROUTING is `routing.url` of the inventory"
    ]


def _at(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(seconds, 0.0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
