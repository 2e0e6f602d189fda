"""An attempt that every guard allows, for each moment, and for each guard the faults that it alone must stop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from policy.guardrails import Attempt, Lease, Measured, Moment, Reading, Replica, TargetState, Trial
from policy.runbooks import Risk, Runbook, named
from tonewatch.records import (
    Action,
    ActionState,
    Approval,
    Cause,
    CauseKind,
    Change,
    Outcome,
    Verdict,
)
from tonewatch.settings import CoolDowns, Freeze, Grant, Guardrails, load_profile

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TRANSCODER, SOURCE, PACKAGER = "component:transcoder-ch1", "component:source-ch1-primary", "component:packager"
EDGES = tuple(f"edge:edge-{number}" for number in (1, 2, 3))
WELL = TargetState(process="RUNNING", pid=7)
DEAD = TargetState(process="EXITED", since=NOW)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def book(name: str) -> Runbook:
    found = named(name)
    assert found is not None
    return found


def action(runbook: str, target: str, incident: str = "i1", **more: Any) -> Action:
    return replace(Action(incident, runbook, target, 1, ActionState.INTENDED, "act", intended=NOW), **more)


def done(runbook: str, target: str, seconds: float, incident: str = "earlier", **more: Any) -> Action:
    """An action that was begun and finished so many seconds ago."""
    times = {"intended": ago(seconds), "started": ago(seconds), "finished": ago(seconds)}
    return action(runbook, target, incident, **({"state": ActionState.FINISHED} | times | more))


def under_way(target: str, incident: str) -> Action:
    return done("restart", target, 5, incident, state=ActionState.STARTED, finished=None)


def verdict(of: Action, outcome: Outcome) -> Verdict:
    return Verdict(of.key, of.incident, outcome, True, NOW, reason="measured")


def fine(
    runbook: str,
    target: str,
    kind: CauseKind,
    state: TargetState,
    replicas: tuple[Replica, ...],
    limits: Guardrails | None = None,
) -> Attempt:
    """An attempt to which nobody has anything to say, right before and after the act."""
    tried = action(runbook, target)
    return Attempt(
        now=NOW,
        action=tried,
        cause=Cause("i1", 1, target, kind, 0.97),
        runbook=book(runbook),
        limits=limits or Guardrails(),
        enabled=True,
        switch=True,
        changes=(),
        resolved=(target,),
        replicas=replicas,
        state=state,
        decided_on=state.fingerprint,
        recent=(),
        trials=(),
        readings=tuple(Reading(ago(3 - second), 0.0, True) for second in range(4)),
        interval_s=1.0,
        ages={"up": 1.0},
        host_starved=False,
        sound=True,
        grant=Grant(runbook=runbook, causes=(kind,), entities=("*",), granted_by="the owner", reason="so"),
        vetoed_by="",
        lease=Lease(3, 3),
        stored=tried,
        sent=False,
        audited=True,
        measured=Measured(verdict(tried, Outcome.WORKED), 3, 20.0, {"stalls": 0.0}),
        root=target,
        upstream={"component:elsewhere": False},
        of_incident=(),
    )


RESTART = fine("restart", TRANSCODER, CauseKind.CRASH, DEAD, (Replica(TRANSCODER, False),))
KILL = fine("kill-and-restart", PACKAGER, CauseKind.HANG, WELL, (Replica(PACKAGER, False),))
SWITCH_STATE = TargetState(input="primary", own_input="primary", inputs=("primary", "backup"))
SWITCH = fine("switch-input", SOURCE, CauseKind.SOURCE_SILENT, SWITCH_STATE, (Replica(SOURCE, False),))
ROLLBACK_STATE = TargetState(process="RUNNING", pid=7, running="2", previous="1")
ROLLBACK = fine("rollback", PACKAGER, CauseKind.BAD_RELEASE, ROLLBACK_STATE, (Replica(PACKAGER, True),))
DRAIN = fine(
    "drain", EDGES[0], CauseKind.LATENCY, TargetState(drained=frozenset()), tuple(Replica(edge, True) for edge in EDGES)
)
UNDO = replace(
    SWITCH,
    action=replace(SWITCH.action, attempt=2),
    stored=replace(SWITCH.action, attempt=2),
    measured=Measured(verdict(SWITCH.action, Outcome.HARMED), 0, 30.0, {}),
    undone=(),
    prior="primary",
)
#: What every guard of the moment must let pass.
FINE: tuple[tuple[str, Moment, Attempt], ...] = (
    *((f"{each.action.runbook} decided", Moment.DECIDE, each) for each in (RESTART, KILL, SWITCH, ROLLBACK, DRAIN)),
    *((f"{each.action.runbook} begun", Moment.BEFORE, each) for each in (RESTART, KILL, SWITCH, ROLLBACK, DRAIN)),
    ("restart going on", Moment.DURING, RESTART),
    ("restart that worked", Moment.AFTER, RESTART),
    ("switch to be undone", Moment.UNDO, UNDO),
    ("nothing was decided on yet", Moment.DECIDE, replace(RESTART, decided_on=None)),
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong, in words, and the attempt that must not pass."""

    guard: str
    words: str
    attempt: Attempt
    moment: Moment = Moment.BEFORE


def approval(of: Action = RESTART.action, approver: str = "ada", **more: Any) -> Approval:
    until = ago(60) + timedelta(minutes=15)
    return replace(Approval(f"a-{approver}", of.key, "tonewatch", approver, "yes", ago(60), until), **more)


UNGRANTED = replace(RESTART, grant=None)
HIGH = replace(RESTART, runbook=replace(book("restart"), risk=Risk.HIGH))
STORM = tuple(done("switch-input", f"component:part-{n}", 700, f"i-{n}") for n in range(1000))
FREEZE = Freeze(started=ago(60), ended=NOW + timedelta(seconds=60), reason="the final of the cup")
WORK = Change("m", "maintenance", TRANSCODER, ago(60), None, "ada", "a new disk")


def trials(*failed: bool, seconds: float = 60, runbook: str = "restart") -> tuple[Trial, ...]:
    """Trials one second apart, the last so many seconds ago."""
    return tuple(Trial(runbook, ago(seconds + len(failed) - n), each) for n, each in enumerate(failed))


def beats(*values: float, step: float = 1.0, broken: tuple[bool, ...] = ()) -> tuple[Reading, ...]:
    held = broken or (True,) * len(values)
    count = len(values)
    return tuple(Reading(ago(step * (count - n)), value, held[n]) for n, value in enumerate(values))


def measured(outcome: Outcome = Outcome.WORKED, good: int = 3, seconds: float = 20, **worse: float) -> Measured:
    return Measured(verdict(RESTART.action, outcome), good, seconds, worse)


def renamed(target: str) -> Attempt:
    """A selector instead of a part, right through the attempt."""
    tried = replace(DRAIN.action, target=target)
    return replace(
        DRAIN, action=tried, stored=tried, cause=replace(DRAIN.cause, entity=target), root=target, resolved=EDGES,
        replicas=tuple(Replica(each, True) for each in (target, *EDGES[1:])),
    )  # fmt: skip


FAULTS: tuple[Fault, ...] = (
    # 1
    Fault("known-target", "an empty list", replace(RESTART, resolved=())),
    Fault("known-target", "nobody could look it up", replace(RESTART, resolved=None)),
    Fault("known-target", "a deleted service", replace(RESTART, resolved=("component:transcoder-ch2",))),
    Fault("known-target", "a wildcard", renamed("edge:*")),
    Fault("known-target", "a selector of several", replace(renamed("edge:edge-1"), resolved=EDGES)),
    # 2
    Fault(
        "blast-radius",
        "three replicas, two of them down",
        replace(DRAIN, replicas=(Replica(EDGES[0], True), Replica(EDGES[1], False), Replica(EDGES[2], False))),
    ),
    Fault(
        "blast-radius",
        "three replicas, two of them drained",
        replace(
            DRAIN,
            replicas=(
                Replica(EDGES[0], True),
                Replica(EDGES[1], True, drained=True),
                Replica(EDGES[2], True, drained=True),
            ),
        ),
    ),
    Fault("blast-radius", "the only edge", replace(DRAIN, replicas=(Replica(EDGES[0], True),))),
    Fault(
        "blast-radius",
        "a tenth of thirty is out already",
        replace(
            DRAIN,
            replicas=(
                Replica(EDGES[0], True),
                *(Replica(f"edge:other-{n}", True, drained=n < 3) for n in range(29)),
            ),
        ),
    ),
    Fault(
        "blast-radius",
        "a healthy part that is the only one is killed",
        replace(KILL, replicas=(Replica(PACKAGER, True),)),
    ),
    Fault("blast-radius", "health unknown", replace(RESTART, replicas=(Replica(TRANSCODER, None),))),
    Fault("blast-radius", "the service unknown", replace(RESTART, replicas=())),
    # 3
    Fault("budget", "an alert storm of 1,000", replace(RESTART, recent=STORM)),
    Fault(
        "budget",
        "an alert storm decided on at once",
        replace(RESTART, recent=tuple(replace(each, state=ActionState.INTENDED, intended=NOW) for each in STORM)),
        Moment.DECIDE,
    ),
    Fault("budget", "five in a quarter of an hour", replace(RESTART, recent=STORM[:5])),
    Fault(
        "budget",
        "twenty in a day",
        replace(RESTART, recent=tuple(done("drain", f"edge:e-{n}", 80_000, f"i-{n}") for n in range(20))),
    ),
    Fault(
        "budget",
        "another act on the service",
        replace(
            RESTART,
            replicas=(Replica(TRANSCODER, False), Replica("component:transcoder-b", True)),
            recent=(under_way("component:transcoder-b", "i2"),),
        ),
    ),
    Fault("budget", "three under way", replace(RESTART, recent=tuple(under_way(edge, f"i-{edge}") for edge in EDGES))),
    # 4
    Fault("cool-down", "a flapping part", replace(RESTART, recent=(done("restart", TRANSCODER, 590),))),
    Fault(
        "cool-down",
        "a flapping part whose restart failed",
        replace(RESTART, recent=(done("restart", TRANSCODER, 590, state=ActionState.FAILED),)),
    ),
    Fault("cool-down", "an edge drained 29 minutes ago", replace(DRAIN, recent=(done("drain", EDGES[0], 29 * 60),))),
    Fault("cool-down", "a rollback 59 minutes ago", replace(ROLLBACK, recent=(done("rollback", PACKAGER, 59 * 60),))),
    # 5
    Fault("steady-fault", "a sawtooth", replace(RESTART, readings=beats(0, 9, 0, broken=(True, False, True)))),
    Fault("steady-fault", "no number", replace(RESTART, readings=beats(0, float("nan"), 0))),
    Fault("steady-fault", "infinity", replace(RESTART, readings=beats(0, float("inf"), 0))),
    Fault("steady-fault", "a negative count", replace(RESTART, readings=beats(0, 0, -1))),
    Fault("steady-fault", "a gap", replace(RESTART, readings=(Reading(ago(60), 0, True), *beats(0, 0)))),
    Fault("steady-fault", "one reading told three times", replace(RESTART, readings=beats(0, 0, 0, step=0.0))),
    Fault("steady-fault", "two readings", replace(RESTART, readings=beats(0, 0))),
    Fault("steady-fault", "no readings", replace(RESTART, readings=None)),
    # 6
    Fault("fresh-data", "a frozen exporter", replace(ROLLBACK, ages={"playlist": 3.5})),
    Fault("fresh-data", "one of two has stopped", replace(ROLLBACK, ages={"playlist": 1.0, "up": 600.0})),
    Fault("fresh-data", "an age that is no number", replace(ROLLBACK, ages={"playlist": float("nan")})),
    Fault("fresh-data", "no data at all", replace(ROLLBACK, ages={})),
    Fault("fresh-data", "a starved watcher", replace(RESTART, host_starved=True)),
    Fault("fresh-data", "a watcher that cannot tell", replace(RESTART, host_starved=None)),
    # 7
    Fault(
        "confidence-for-risk",
        "0.99 on corrupted input",
        replace(RESTART, cause=replace(RESTART.cause, confidence=0.99), sound=False),
    ),
    Fault("confidence-for-risk", "input that nobody checked", replace(RESTART, sound=None)),
    Fault("confidence-for-risk", "0.89", replace(RESTART, cause=replace(RESTART.cause, confidence=0.89))),
    Fault("confidence-for-risk", "1.7", replace(RESTART, cause=replace(RESTART.cause, confidence=1.7))),
    Fault("confidence-for-risk", "no number", replace(RESTART, cause=replace(RESTART.cause, confidence=float("nan")))),
    Fault("confidence-for-risk", "high risk and one yes, the owner's", HIGH),
    Fault(
        "confidence-for-risk",
        "high risk and one yes, told twice",
        replace(HIGH, grant=None, approvals=(approval(), approval())),
    ),
    # 8
    Fault("consent", "nobody was asked", UNGRANTED),
    Fault(
        "consent",
        "an approval that expired",
        replace(UNGRANTED, approvals=(approval(approved=ago(901), expires=ago(1)),)),
    ),
    Fault(
        "consent",
        "an approval that was made to last",
        replace(UNGRANTED, approvals=(approval(expires=NOW + timedelta(days=9)),)),
    ),
    Fault("consent", "a replay: used before", replace(UNGRANTED, approvals=(approval(used=ago(30)),))),
    Fault(
        "consent",
        "a replay: of another action",
        replace(UNGRANTED, approvals=(approval(replace(RESTART.action, attempt=2)),)),
    ),
    Fault("consent", "self-approval", replace(UNGRANTED, approvals=(approval(requester="ada"),))),
    Fault("consent", "self-approval under another name", replace(UNGRANTED, approvals=(approval(),), requester="ada")),
    Fault(
        "consent",
        "approved from the future",
        replace(UNGRANTED, approvals=(approval(approved=NOW + timedelta(seconds=9)),)),
    ),
    Fault("consent", "a grant for something else", replace(RESTART, grant=load_profile("demo").grants[2])),
    Fault("consent", "somebody said no", replace(RESTART, vetoed_by="ada")),
    # 10
    Fault("precondition", "a person restarted it first", replace(RESTART, state=WELL, decided_on=WELL.fingerprint)),
    Fault(
        "precondition",
        "a person restarted what hung",
        replace(KILL, state=replace(WELL, pid=8, since=NOW)),
    ),
    Fault(
        "precondition",
        "a person switched the input",
        replace(
            SWITCH,
            state=replace(SWITCH_STATE, input="backup"),
            decided_on=replace(SWITCH_STATE, input="backup").fingerprint,
        ),
    ),
    Fault(
        "precondition", "another version was rolled out", replace(ROLLBACK, state=replace(ROLLBACK_STATE, running="3"))
    ),
    Fault("precondition", "a person drained it", replace(DRAIN, state=TargetState(drained=frozenset(EDGES[:1])))),
    Fault("precondition", "no version to go back to", replace(ROLLBACK, state=TargetState(running="1")), Moment.DECIDE),
    Fault("precondition", "what it was decided on is forgotten", replace(RESTART, decided_on=None)),
    Fault("precondition", "a person set it otherwise before the undo", replace(UNDO, decided_on="other"), Moment.UNDO),
    # 11
    Fault("fenced-lease", "a paused worker resumes", replace(RESTART, lease=Lease(3, 4))),
    Fault(
        "fenced-lease", "a paused worker resumes between two steps", replace(RESTART, lease=Lease(3, 4)), Moment.DURING
    ),
    Fault("fenced-lease", "no lease", replace(RESTART, lease=None)),
    Fault("fenced-lease", "a lease that nobody gave", replace(RESTART, lease=Lease(None, None))),
    # 12
    Fault("idempotency", "timeout after success", replace(RESTART, sent=True, found_done=True)),
    Fault("idempotency", "timeout, and nobody looked", replace(RESTART, sent=True)),
    Fault("idempotency", "the key is not stored", replace(RESTART, stored=None)),
    Fault("idempotency", "another key is stored", replace(RESTART, stored=replace(RESTART.action, attempt=2))),
    Fault(
        "idempotency", "finished already", replace(RESTART, stored=replace(RESTART.action, state=ActionState.FINISHED))
    ),
    Fault("idempotency", "it is not known whether it was sent", replace(RESTART, sent=None)),
    # 13
    Fault(
        "verification",
        "it succeeds, but the error rate rises",
        replace(RESTART, measured=measured(errors=0.11)),
        Moment.AFTER,
    ),
    Fault("verification", "harmed", replace(RESTART, measured=measured(Outcome.HARMED)), Moment.AFTER),
    Fault("verification", "too little data", replace(RESTART, measured=measured(Outcome.INCONCLUSIVE)), Moment.AFTER),
    Fault("verification", "two good readings", replace(RESTART, measured=measured(good=2)), Moment.AFTER),
    Fault("verification", "six minutes", replace(RESTART, measured=measured(seconds=360)), Moment.AFTER),
    Fault("verification", "no number", replace(RESTART, measured=measured(errors=float("nan"))), Moment.AFTER),
    Fault("verification", "nothing was measured", replace(RESTART, measured=None), Moment.AFTER),
    # 14
    Fault(
        "undo-once",
        "the undo itself failed",
        replace(UNDO, undone=(done("switch-input", SOURCE, 30, state=ActionState.FAILED),)),
        Moment.UNDO,
    ),
    Fault("undo-once", "no prior state", replace(UNDO, prior=None), Moment.UNDO),
    Fault(
        "undo-once",
        "it worked",
        replace(UNDO, measured=Measured(verdict(SWITCH.action, Outcome.WORKED), 3, 9, {})),
        Moment.UNDO,
    ),
    Fault(
        "undo-once",
        "what cannot be undone",
        replace(UNDO, runbook=replace(book("switch-input"), reversible=False)),
        Moment.UNDO,
    ),
    Fault("undo-once", "earlier undos unknown", replace(UNDO, undone=None), Moment.UNDO),
    # 15
    Fault("circuit-breaker", "a runbook that always fails", replace(RESTART, trials=trials(True, True))),
    Fault(
        "circuit-breaker", "two of five", replace(RESTART, trials=trials(True, False, False, True, False, seconds=2400))
    ),
    Fault(
        "circuit-breaker",
        "the trial after an hour failed too",
        replace(RESTART, trials=(*trials(True, True, seconds=7200), *trials(True, seconds=3000))),
    ),
    Fault(
        "circuit-breaker",
        "the trial after an hour is under way",
        replace(RESTART, trials=trials(True, True, seconds=4000), recent=(under_way(EDGES[0], "i2"),)),
    ),
    Fault(
        "circuit-breaker",
        "three failures of any runbook",
        replace(RESTART, trials=sum((trials(True, runbook=f"r{n}", seconds=1700) for n in range(3)), ())),
    ),
    Fault("circuit-breaker", "outcomes unknown", replace(RESTART, trials=None)),
    # 17
    Fault("kill-switch", "the flag store is down", replace(RESTART, switch=None)),
    Fault("kill-switch", "switched off between two steps", replace(RESTART, switch=False), Moment.DURING),
    Fault("kill-switch", "switched off before the undo", replace(UNDO, switch=False), Moment.UNDO),
    Fault("kill-switch", "switched off by the setting", replace(RESTART, enabled=False)),
    Fault("kill-switch", "a freeze", replace(RESTART, limits=Guardrails(freezes=(FREEZE,)))),
    Fault("kill-switch", "maintenance of the target", replace(RESTART, changes=(WORK,))),
    Fault("kill-switch", "changes unknown", replace(RESTART, changes=None)),
    # 18
    Fault(
        "dependency-order",
        "a cascade of six services",
        replace(
            RESTART,
            root="component:first",
            upstream={f"component:{name}": True for name in ("first", "second", "third", "fourth", "fifth")},
        ),
    ),
    Fault("dependency-order", "upstream is red", replace(RESTART, upstream={"component:ingest-ch1": True})),
    Fault("dependency-order", "upstream is unknown", replace(RESTART, upstream={"component:ingest-ch1": None})),
    Fault("dependency-order", "not at the root", replace(RESTART, root="component:ingest-ch1")),
    Fault(
        "dependency-order",
        "acted on before",
        replace(RESTART, of_incident=(done("drain", EDGES[0], 60, incident="i1"),)),
    ),
    Fault("dependency-order", "topology unknown", replace(RESTART, upstream=None)),
    # 20
    Fault("audit-first", "the database is down", replace(RESTART, audited=False)),
    Fault("audit-first", "nobody knows", replace(RESTART, audited=None)),
    Fault("audit-first", "the undo is not written down", replace(UNDO, audited=False), Moment.UNDO),
)

#: Wider limits let pass what the sheet's stop: that the numbers are read from the profile.
OPENED = (
    replace(
        RESTART,
        recent=(done("restart", TRANSCODER, 90), *STORM[:7]),
        limits=Guardrails(actions_per_quarter_hour=9, cool_down_seconds=CoolDowns(restart=60)),
    ),
)
