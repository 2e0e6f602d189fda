"""The demo's judgement: what the loop did, held against what was true. Pure; nothing here asks or waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from policy.runbooks import UNDO
from tonewatch.errors import FaultError
from tonewatch.records import Action, ActionState, Cause, Incident, Outcome, Verdict

#: Words in a truth's `right` that mean: leave the platform alone.
HANDS_OFF = frozenset({"none", "wait", "hand-over", "notify"})
#: More than this share of starved seconds makes a run void (design.md, "Honest proof").
VOID_SHARE = 0.05
#: How far an incident's onset may lie before the injection: onset is the start of a detector's window (demo: 3 x 10 s).
SLACK_BEFORE = timedelta(seconds=30)
#: How long after a fault was healed its echoes may still open an incident.
SLACK_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Truth:
    """What the soundstage says of one injected fault. Times in UTC."""

    id: str
    name: str
    is_fault: bool
    entity: str
    cause: str | None  # component:transcoder-ch1:crash; None for what is no fault
    injected: datetime
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    path: tuple[str, ...] = ()  # entities, from the cause to where it is felt
    healed: datetime | None = None
    lasts_s: float | None = None  # how long it goes on by itself


@dataclass(frozen=True, slots=True)
class Loss:
    """What the players' own records say of one fault: times from its injection in seconds, loss in minutes."""

    impact_started_s: float | None = None
    impact_ended_s: float | None = None
    listener_minutes_lost: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One incident as the warehouse tells it at the end."""

    incident: Incident
    causes: tuple[Cause, ...] = ()
    actions: tuple[Action, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class FaultResult:
    """One line of the demo's table. None where it did not happen; seconds count from the injection."""

    name: str
    is_fault: bool
    detected_s: float | None
    cause_named: str | None
    cause_true: str | None
    action: str | None
    impact_ended_s: float | None
    verdict: str | None
    controlled: bool | None
    listener_minutes_lost: float | None
    incident_id: str | None
    failures: tuple[str, ...] = ()  # why this fault fails the demo; empty: it passed

    def to_json(self) -> dict[str, Any]:
        """The published keys, and `failures`."""
        return asdict(self) | {"failures": list(self.failures)}


def parse_truth(document: Mapping[str, Any]) -> Truth:
    """Read what `soundstage inject` printed.

    Raises FaultError: a key is missing, or a time is none.
    """
    try:
        return Truth(
            id=str(document["id"]),
            name=str(document["name"]),
            is_fault=bool(document["is_fault"]),
            entity=str(document["entity"]),
            cause=document["cause"],
            injected=_time(document["injected"]),
            right=tuple(document.get("right", ())),
            wrong=tuple(document.get("wrong", ())),
            path=tuple(document.get("path", ())),
            lasts_s=None if document.get("lasts_s") is None else float(document["lasts_s"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FaultError(f"the soundstage told no usable truth of the fault ({error!r}): {document}") from error


def _time(value: object) -> datetime:
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return datetime.fromisoformat(str(value))


def belongs(incident: Incident, truth: Truth) -> bool:
    """Whether `incident` can come from the fault: opened after it, begun in its time, and on the fault's path.

    A rendition counts as its channel's: what breaks `channel:ch1` breaks `rendition:ch1/aac-128`.
    """
    last = (truth.healed or datetime.max.replace(tzinfo=UTC) - SLACK_AFTER) + SLACK_AFTER
    if incident.opened < truth.injected or not truth.injected - SLACK_BEFORE <= incident.onset <= last:
        return False
    path = {truth.entity, *truth.path}
    return any(entity in path or _channel_of(entity) in path for entity in incident.entities)


def _channel_of(entity: str) -> str:
    kind, _, name = entity.partition(":")
    return f"channel:{name.partition('/')[0]}" if kind == "rendition" else entity


def attribute(seen: Iterable[Seen], truths: Sequence[Truth]) -> tuple[dict[str, list[Seen]], list[Seen]]:
    """Give each incident to the latest fault it can come from, earliest incident first.

    Returns ({truth id: incidents}, false incidents). What something harmless (is_fault false) set off is false.
    """
    by_truth: dict[str, list[Seen]] = {truth.id: [] for truth in truths}
    false: list[Seen] = []
    for one in sorted(seen, key=lambda s: s.incident.opened):
        owner = max((t for t in truths if belongs(one.incident, t)), key=lambda t: t.injected, default=None)
        if owner is not None:
            by_truth[owner.id].append(one)
        if owner is None or not owner.is_fault:
            false.append(one)
    return by_truth, false


def judge(truth: Truth, seen: Sequence[Seen], loss: Loss) -> FaultResult:
    """Hold what was done about one fault against the truth. `seen`: its incidents, earliest first."""
    first = seen[0] if seen else None
    action = _deed(first.actions) if first else None
    verdict = _verdict_of(action, first.verdicts) if first else None
    top = min(first.causes, key=lambda cause: cause.rank, default=None) if first else None
    result = FaultResult(
        name=truth.name,
        is_fault=truth.is_fault,
        detected_s=_seconds(first.incident.opened - truth.injected) if first else None,
        cause_named=top.name if top else None,
        cause_true=truth.cause,
        action=f"{action.runbook} {action.target}" if action else None,
        impact_ended_s=loss.impact_ended_s,
        verdict=verdict.outcome.value if verdict else None,
        controlled=verdict.controlled if verdict else None,
        listener_minutes_lost=loss.listener_minutes_lost,
        incident_id=first.incident.id if first else None,
    )
    failures = _failures_of_fault(result, truth, action, loss) if truth.is_fault else _failures_of_none(truth, action)
    return replace(result, failures=(*failures, *_failures_of_others(truth, seen[1:])))


def _seconds(span: timedelta) -> float:
    return round(max(span.total_seconds(), 0.0), 1)


def _deed(actions: Sequence[Action]) -> Action | None:
    """The last action that reached the platform; a refused or merely intended one did not."""
    begun = (ActionState.STARTED, ActionState.FINISHED, ActionState.FAILED)
    done = [a for a in actions if a.state in begun and not a.runbook.startswith(UNDO)]
    return max(done, key=lambda action: action.attempt, default=None)


def _verdict_of(action: Action | None, verdicts: Sequence[Verdict]) -> Verdict | None:
    mine = [v for v in verdicts if action is None or v.action == action.key]
    return max(mine, key=lambda verdict: verdict.decided, default=None)


def _failures_of_fault(result: FaultResult, truth: Truth, action: Action | None, loss: Loss) -> list[str]:
    if result.detected_s is None:
        return ["missed"]
    failures = []
    if result.cause_named != truth.cause:
        failures.append(f"cause named {result.cause_named or 'none'}, true is {truth.cause}")
    if not is_right(action, truth):
        failures.append(f"action {result.action or 'none'} is not among the right ones ({', '.join(truth.right)})")
    if action is not None and result.verdict != Outcome.WORKED:
        failures.append(f"verdict {result.verdict or 'none'}")
    if loss.impact_started_s is not None and loss.impact_ended_s is None:
        failures.append("impact not ended")
    return failures


def _failures_of_others(truth: Truth, others: Sequence[Seen]) -> list[str]:
    """One fault is one incident; what was done in a further one must be right as well."""
    failures = [f"{len(others) + 1} incidents for one fault"] if others else []
    for other in others:
        deed = _deed(other.actions)
        if deed is not None and not is_right(deed, truth):
            failures.append(f"action {deed.runbook} {deed.target} in incident {other.incident.id} is not right")
    return failures


def _failures_of_none(truth: Truth, action: Action | None) -> list[str]:
    if action is None or is_right(action, truth):
        return []
    return [f"acted ({action.runbook} {action.target}) where nothing was broken"]


def is_right(action: Action | None, truth: Truth) -> bool:
    """Whether `action` is one of the truth's right remedies; None is right where hands are to be kept off.

    A remedy is written `runbook entity`, `runbook:entity` or `runbook` (then on the fault's own entity).
    """
    if action is None:
        return not truth.right or bool(HANDS_OFF & set(truth.right))
    names = {f"{action.runbook} {action.target}", f"{action.runbook}:{action.target}"}
    if action.target == truth.entity:
        names.add(action.runbook)
        # Killing what hangs before bringing it up is a restart that does not ask.
        names |= {"restart", "kill and restart"} if action.runbook == "kill-and-restart" else set()
    return bool(names & set(truth.right))


def is_void(starved_s: float, lasted_s: float) -> bool:
    """Whether the machine was too busy for the run's times to mean anything."""
    return lasted_s > 0 and starved_s / lasted_s > VOID_SHARE


def exit_status(results: Iterable[FaultResult], false_incidents: int) -> int:
    """1 if a fault was missed or wrongly mended, or a false incident opened; else 0."""
    return int(false_incidents > 0 or any(result.failures for result in results))
