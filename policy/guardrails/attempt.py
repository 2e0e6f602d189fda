"""What the guardrails may know of a remedy: one frozen set of facts. None means "not known", which refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from policy.runbooks import Runbook
from tonewatch.records import Action, Approval, Cause, Change, Sample, Verdict, digest
from tonewatch.settings import Grant, Guardrails


class Moment(StrEnum):
    """When a guard is asked."""

    DECIDE = "decide"
    BEFORE = "before acting"
    DURING = "while acting"
    AFTER = "after acting"  # may it be called a success?
    UNDO = "before undoing"


#: What the platform's supervisor says of a process that has ended by itself.
ENDED_STATES = frozenset({"EXITED", "FATAL", "BACKOFF"})


@dataclass(frozen=True, slots=True)
class TargetState:
    """How the platform says that the target is. What a target does not have stays None; see each runbook.

    restart, kill-and-restart: `process` (RUNNING, EXITED ...), `pid`, `since` (when it started or ended).
    switch-input: `input`, what its ingest takes now; `own_input`, the target's name there; `inputs`, all of them.
    rollback: `running` and `previous` version. drain: `drained`, the entity ids of all drained edges.
    """

    process: str | None = None
    pid: int | None = None
    since: datetime | None = None
    input: str | None = None
    own_input: str | None = None
    inputs: tuple[str, ...] = ()
    running: str | None = None
    previous: str | None = None
    drained: frozenset[str] | None = None

    @property
    def fingerprint(self) -> str:
        """Equal as long as nobody has touched the target: what a decision was made on is kept by it."""
        facts = asdict(self) | {"drained": None if self.drained is None else sorted(self.drained)}
        return digest(facts)


@dataclass(frozen=True, slots=True)
class Replica:
    """A part of the target's service, the target included. `healthy` None: not known. `drained`: takes no listeners."""

    entity: str
    healthy: bool | None
    drained: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of what shows the fault. `broken`: whether the fault's condition held in it."""

    time: datetime
    value: float
    broken: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """How an earlier act of the tenant ended. `failed`: the act itself, or it harmed, or what was broken stayed so."""

    runbook: str
    ended: datetime
    failed: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may act: `token` is the one held by who asks, `newest` the one that the warehouse gave out last."""

    token: int | None
    newest: int | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What verification has seen. `seconds` from the act to the good readings; `worse`: guarded SLI -> share by which
    it is worse than without the act (0.1 is a tenth).
    """

    verdict: Verdict | None
    good_readings: int
    seconds: float
    worse: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A remedy about to be tried, or tried, with everything that guards may look at. All times in UTC."""

    # What, when, within which limits.
    now: datetime
    action: Action
    cause: Cause
    runbook: Runbook | None
    limits: Guardrails

    # 17: kill switch and freezes. `switch`: the flag store's reading, None when it cannot be read. `changes`: those
    # under way now.
    enabled: bool | None = None
    switch: bool | None = None
    changes: Sequence[Change] | None = None

    # 1, 2, 10: the target. `resolved`: the entities that it stands for. `state`: how it is now. `decided_on`: the
    # fingerprint that the decision was made on (UNDO: the one right after the act).
    resolved: Sequence[str] | None = None
    replicas: Sequence[Replica] | None = None
    state: TargetState | None = None
    decided_on: str | None = None

    # 3, 4, 15: what was done before. `recent`: the tenant's actions of the last day or longer, other than this one;
    # `trials`: how the tenant's last acts ended, in any order.
    recent: Sequence[Action] | None = None
    trials: Sequence[Trial] | None = None

    # 5, 6, 7: what it rests on. `interval_s`: seconds between two readings as the watcher gets them. `ages`: what was
    # read -> seconds since. `sound`: whether no contract on these data is broken.
    readings: Sequence[Reading] | None = None
    interval_s: float | None = None
    ages: Mapping[str, float] | None = None
    host_starved: bool | None = None
    sound: bool | None = None

    # 7, 8: who says yes, and who no. `approvals`: those that this attempt rests on, as they are kept. `vetoed_by`: who
    # said no to this action; empty: nobody.
    grant: Grant | None = None
    approvals: Sequence[Approval] = ()
    requester: str = "tonewatch"
    vetoed_by: str | None = None

    # 11, 12, 20: the books. `stored`: the action as read back from the warehouse. `sent`: whether a call for this key
    # may have reached the platform before; `found_done`: what looking then said. `audited`: the intent is committed in
    # the audit.
    lease: Lease | None = None
    stored: Action | None = None
    sent: bool | None = None
    found_done: bool | None = None
    audited: bool | None = None

    # 13, 14: what came of it. `undone`: undos of this action that were begun before; `prior`: the state to go back to.
    measured: Measured | None = None
    undone: Sequence[Action] | None = None
    prior: str | None = None

    # 18: `root`: the entity at which the incident began. `upstream`: what feeds the target -> whether it is red.
    # `of_incident`: the incident's actions.
    root: str | None = None
    upstream: Mapping[str, bool | None] | None = None
    of_incident: Sequence[Action] | None = None


def readings(samples: Sequence[Sample], broken: Callable[[float], bool]) -> tuple[Reading, ...]:
    """Samples of one series as readings of a fault, in order of time; `broken` tells by its value whether it held."""
    ordered = sorted(samples, key=lambda sample: sample.time)
    return tuple(Reading(sample.time, sample.value, broken(sample.value)) for sample in ordered)
