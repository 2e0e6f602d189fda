"""A week with something of every kind in it, for tests of the report: listening, incidents, deeds, labels."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tonewatch.records import (
    Action,
    ActionState,
    Cause,
    CauseKind,
    GuardAnswer,
    Incident,
    IncidentState,
    Label,
    Notice,
    Outcome,
    SessionReport,
    Verdict,
)
from warehouse import actions, audit, incidents, labels, notices, sessions, verdicts
from warehouse.database import Connection, Warehouse

MONDAY = datetime(2026, 6, 29, tzinfo=UTC)
NEXT_MONDAY = MONDAY + timedelta(days=7)
#: When the report is made: Monday at six.
MADE = NEXT_MONDAY + timedelta(hours=6)


@dataclass(frozen=True)
class Case:
    """An incident to seed. Times in seconds after `day` days and 10 h; a `deed` is (runbook, state, outcome)."""

    id: str
    day: float
    title: str
    entity: str
    kind: CauseKind | None
    severity: str = "minor"
    state: IncidentState = IncidentState.CLOSED
    noticed: float = 4.0
    impact: tuple[float, float] | None = None
    lost: float = 0.0
    basis: str = "measured"
    deeds: tuple[tuple[str, ActionState, Outcome | None, bool], ...] = ()
    refused_by: tuple[str, ...] = ()
    told: bool = True
    handed_over: bool = False
    judged: str = ""

    @property
    def onset(self) -> datetime:
        return MONDAY + timedelta(days=self.day, hours=10)


F, R, X = ActionState.FINISHED, ActionState.REFUSED, ActionState.FAILED
CASES = (
    Case("old-open", -8, "stalls on edge-3", "edge:edge-3", CauseKind.LATENCY, state=IncidentState.HANDED_OVER),
    Case(
        "old-person", -20, "ch1 is silent", "component:source-ch1", CauseKind.SOURCE_SILENT, "major",
        impact=(2, 1322), lost=30.5, handed_over=True, judged="real",
    ),
    Case(
        "w27-crash", 0, "transcoder-ch1 has ended <b>&", "component:transcoder-ch1", CauseKind.CRASH, "major",
        noticed=3.5, impact=(2, 41.25), lost=6.4, deeds=(("restart", F, Outcome.WORKED, False),), judged="real",
    ),
    Case(
        "w27-latency", 1.1, "edge-1 is slow", "edge:edge-1", CauseKind.LATENCY, "major",
        noticed=12, impact=(5, 66), lost=8.125, deeds=(("drain", F, Outcome.WORKED, True),),
    ),
    Case(
        "w27-release", 2.05, "playlists of the packager are too short", "component:packager", CauseKind.BAD_RELEASE,
        "critical", noticed=9, impact=(3, 903), lost=64.75, handed_over=True,
        deeds=(("rollback", R, None, False),), refused_by=("approval", "cool-down"), judged="real",
    ),
    Case("w27-quiet", 3, "ch2 sounds unlike itself", "channel:ch2", None, noticed=31, judged="false-alarm"),
    Case("w27-work", 3.1, "origin restarts", "component:origin", CauseKind.PLANNED_WORK, told=False, judged="planned"),
    Case(
        "w27-worse", 4, "packager hangs", "component:packager", CauseKind.HANG, "major",
        state=IncidentState.HANDED_OVER, noticed=7, impact=(4, 300), lost=12.5,
        deeds=(("kill-and-restart", F, Outcome.HARMED, False), ("kill-and-restart", R, None, False)),
        refused_by=("cool-down",),
    ),
    Case(
        "w27-guess", 5.1, "ch2 is thin on edge-2", "edge:edge-2", CauseKind.OVERLOAD, noticed=20, impact=(10, 130),
        lost=3.2, basis="inferred", deeds=(("drain", X, None, False), ("restart", F, Outcome.WORKED, False)),
    ),
    Case(
        "w27-probe", 6, "transcoder-ch2 has ended", "component:transcoder-ch2", CauseKind.CRASH, basis="probe",
        deeds=(("restart", F, Outcome.WORKED, False),),
    ),
    Case(
        "w27-late", 6.12, "origin has ended", "component:origin", CauseKind.CRASH, state=IncidentState.VERIFYING,
        deeds=(("restart", F, None, False),),
    ),
    Case("w28-next", 7.01, "of the next week", "component:origin", CauseKind.CRASH, "critical", judged="false-alarm"),
)  # fmt: skip


async def seed(warehouse: Warehouse, tenant: str, *, scale: int = 1, sessions_a_day: int = 24) -> None:
    """Write the week. `scale` makes another tenant's numbers other ones."""
    async with warehouse.as_tenant(tenant) as db:
        told = list(listening(scale, sessions_a_day))
        for start in range(0, len(told), 5000):
            await sessions.save(tenant, db, told[start : start + 5000], MADE)
        for case in CASES:
            await _seed_case(tenant, db, case, _cost(case, told) or case.lost * scale)


def _cost(case: Case, told: list[SessionReport]) -> float:
    """Listener-minutes lost in the case's impact, as the players told them; 0: they told nothing of it."""
    if case.impact is None or case.basis != "measured":
        return 0.0
    start, end = case.onset, case.onset + timedelta(seconds=case.impact[1] + 30)
    return sum(report.starved_ms for report in told if start <= report.time < end) / 60_000


def listening(scale: int, sessions_a_day: int) -> Iterator[SessionReport]:
    """An hour each of so many sessions a day, reports every 30 s, and beside them what must be counted rightly."""
    chance = random.Random(scale)
    for day in range(-1, 8):
        for number in range(sessions_a_day):
            start = MONDAY + timedelta(days=day, hours=9 + number % 5, minutes=7 * number % 60)
            yield from _hour(f"d{day}-{number}", number, start, chance, scale)
    # Reports from before the week on, over its end, and with a silence in the middle that is no listening.
    for name, begins in (("into", MONDAY - timedelta(seconds=75)), ("out", NEXT_MONDAY - timedelta(seconds=75))):
        yield from (_report(name, at, begins + timedelta(seconds=30 * at)) for at in range(6))
    gaps = (0, 20, 40, 101, 160, 220, 281)
    yield from (_report("silent", at, MONDAY + timedelta(seconds=seconds)) for at, seconds in enumerate(gaps))
    states = ("s", "p", "a", "p", "e", "d", "p", "r", "f", "k")
    for at, state in enumerate(states):
        yield replace(_report("states", at, MONDAY + timedelta(seconds=25 * at)), state=state)
    # Lost more than the time since the report before, and lost with no report before.
    yield replace(_report("alone", 0, MONDAY + timedelta(days=2, hours=10)), starved_ms=45_500)
    yield _report("deep", 0, MONDAY + timedelta(days=2, hours=10))
    yield replace(_report("deep", 1, MONDAY + timedelta(days=2, hours=10, seconds=10)), starved_ms=14_000)


def _hour(session: str, number: int, start: datetime, chance: random.Random, scale: int) -> Iterator[SessionReport]:
    channel = f"channel:ch{1 + number % 2}"
    for at in range(120):
        report = replace(_report(session, at, start + timedelta(seconds=30 * at)), channel=channel)
        if at == 1:
            report = replace(report, startup_ms=chance.choice((350, 900, 1_700, 2_600)))
        gone = sum(_overlap(case, report.time) for case in CASES if case.basis == "measured")
        if gone:
            report = replace(report, starved_ms=round(gone * 1000), state="r")
        elif chance.random() < 0.0006 * scale:
            report = replace(report, starved_ms=chance.randrange(200, 9_000), state="r")
        yield report


def _overlap(case: Case, time: datetime) -> float:
    """Seconds of the 30 before `time` that lie in the case's impact."""
    if case.impact is None:
        return 0.0
    since = (time - case.onset).total_seconds()
    return max(0.0, min(since, case.impact[1]) - max(since - 30, case.impact[0]))


def _report(session: str, sequence: int, time: datetime) -> SessionReport:
    return SessionReport(session, "channel:ch1", "edge:edge-1", time, "t", "p", sequence=sequence)


async def _seed_case(tenant: str, db: Connection, case: Case, lost: float) -> None:
    started, ended = (case.onset + timedelta(seconds=s) for s in case.impact) if case.impact else (None, None)
    opened = case.onset + timedelta(seconds=case.noticed)
    closed = opened + timedelta(hours=1) if case.state is IncidentState.CLOSED else None
    incident = Incident(
        case.id, tenant, case.state, case.onset, opened, case.title, (case.entity,), started, ended,
        round(lost, 3), case.basis, case.severity, closed=closed,
    )  # fmt: skip
    await incidents.save(tenant, db, incident)
    if case.kind is not None:
        causes = [
            Cause(case.id, 1, case.entity, case.kind, 0.9),
            Cause(case.id, 2, "component:other", CauseKind.UNKNOWN, 0.1),
        ]
        await incidents.set_causes(tenant, db, case.id, causes, opened)
    if case.told:
        told = Notice(tenant, case.id, "opened", "L1", "email", case.title, "told", created=opened)
        await notices.put(tenant, db, [told])
    await _seed_deeds(tenant, db, case, opened)
    if case.handed_over:
        words = {"who": "watcher", "what": "incident.state", "subject": case.id, "reason": ""}
        after = {"state": "handed-over"}
        await audit.write(tenant, db, before={"state": "diagnosed"}, after=after, at=opened, **words)
    if case.judged:
        said = [
            Label(f"{case.id}-close", "incident", case.id, "close", "ann", "", MADE),
            Label(f"{case.id}-verdict", "incident", case.id, f"verdict:{case.judged}", "ann", "", MADE),
        ]
        await labels.put(tenant, db, said)


async def _seed_deeds(tenant: str, db: Connection, case: Case, opened: datetime) -> None:
    for attempt, (runbook, state, outcome, controlled) in enumerate(case.deeds, start=1):
        refused = case.refused_by if state is ActionState.REFUSED else ()
        guards = (
            GuardAnswer("grant", True, "the owner's"),
            *(GuardAnswer(guard, False, "not now") for guard in refused),
        )
        at = opened + timedelta(seconds=5 * attempt)
        deed = Action(case.id, runbook, case.entity, attempt, state, "act", guards=guards, intended=at, finished=at)
        await actions.intend(tenant, db, deed)
        if outcome is not None:
            decided = at + timedelta(seconds=30)
            await verdicts.save(tenant, db, Verdict(deed.key, case.id, outcome, controlled, decided))
