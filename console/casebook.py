"""Incidents told to people: what `tonewatch incidents list` and `show` print."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tonewatch.records import Action, Approval, Cause, Finding, Incident, Label, Notice
from warehouse.cases import Case
from warehouse.overview import Glance


def listed(glances: Sequence[Glance]) -> str:
    """A table for people, one incident a line."""
    if not glances:
        return "no incidents"
    head = ("id", "opened", "state", "severity", "lost", "verdict", "answered", "cause", "title")
    rows = [head, *(_columns(glance) for glance in glances)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head) - 1)]
    cells = ([cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)] + [row[-1]] for row in rows)
    return "\n".join("  ".join(line).rstrip() for line in cells)


def _columns(glance: Glance) -> tuple[str, ...]:
    return (
        glance.id,
        f"{glance.opened:%Y-%m-%d %H:%M:%S}",
        glance.state.value,
        glance.severity,
        f"{glance.listener_minutes_lost:.1f} min",
        glance.verdict or "-",
        glance.answered or (f"no, at {glance.level}" if glance.level in {"L1", "L2", "L3"} else "-"),
        glance.cause or "-",
        glance.title,
    )


def told(case: Case) -> str:
    """The story for people: what is known first, then line by line as it happened."""
    sections = (
        ("Findings", [_finding(finding, case.incident.onset) for finding in case.findings]),
        ("Causes", [line for cause in case.causes for line in _cause(cause)]),
        ("Actions", [line for action in case.actions for line in _action(action, case)]),
        ("Notices", [_notice(notice) for notice in case.notices]),
        ("People", [_label(label) for label in case.labels]),
        ("Story", [f"{_offset(line.time, case.incident.onset)}  {line.step:<9} {line.what}" for line in case.story]),
    )
    parts = [_head(case.incident)]
    for heading, lines in sections:
        parts.append(f"{heading}\n" + "\n".join(f"  {line}" for line in lines or ["none"]))
    return "\n\n".join(parts)


def _head(incident: Incident) -> str:
    began, ended = _at(incident.impact_started), _at(incident.impact_ended)
    return "\n".join(
        [
            incident.title,
            f"  incident {incident.id} of {incident.tenant}: {incident.state}, {incident.severity}",
            f"  onset {_at(incident.onset)}, opened {_at(incident.opened)}, closed {_at(incident.closed)}",
            f"  impact from {began} to {ended}, "
            f"{incident.listener_minutes_lost:.2f} listener-minutes lost ({incident.loss_basis})",
        ]
    )


def _finding(finding: Finding, onset: datetime) -> str:
    seen = f" (expected {finding.expected}, was {finding.actual})" if finding.expected or finding.actual else ""
    return f"{_offset(finding.started, onset)}  {finding.entity}  {finding.detector}: {finding.summary}{seen}"


def _cause(cause: Cause) -> list[str]:
    lines = [f"{cause.rank}. {cause.name}, {cause.confidence:.0%} sure"]
    lines += [f"   - {sentence}" for sentence in cause.evidence]
    return [*lines, f"   felt along {' > '.join(cause.path)}"] if len(cause.path) > 1 else lines


def _action(action: Action, case: Case) -> list[str]:
    lines = [f"{action.runbook} of {action.target}, attempt {action.attempt}: {action.state} ({action.autonomy})"]
    lines += [f"   {action.detail}"] if action.detail else []
    lines += [f"   {'yes' if each.allowed else 'NO ':<3} {each.guard}: {each.reason}" for each in action.guards]
    lines += [_approval(each) for each in case.approvals if each.action == action.key]
    lines += [f"   to undo it: {action.undo}"] if action.undo else []
    for verdict in case.verdicts:
        if verdict.action == action.key:
            control = "controlled" if verdict.controlled else "uncontrolled"
            lines.append(f"   verdict: {verdict.outcome} ({control}) {verdict.reason}".rstrip())
    return lines


def _approval(approval: Approval) -> str:
    used = f"used {_at(approval.used)}" if approval.used else f"good until {_at(approval.expires)}, not used"
    return f"   approved by {approval.approver}, asked for by {approval.requester}; {used}"


def _notice(notice: Notice) -> str:
    went = f"sent {_at(notice.sent)}" if notice.sent else f"{notice.state} {notice.last_error}".rstrip()
    return f"{_at(notice.created)}  {notice.level} {notice.channel}: {notice.incident_state}, {went}"


def _label(label: Label) -> str:
    return f"{_at(label.time)}  {label.who}: {label.value}{f' ({label.reason})' if label.reason else ''}"


def _at(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else "-"


def _offset(time: datetime, onset: datetime) -> str:
    return f"{(time - onset).total_seconds():+8.1f} s"
