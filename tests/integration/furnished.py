"""One of everything that a tenant can have: an incident with its story, and every other row beside it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import text

from tonewatch.records import (
    Action,
    ActionState,
    Alert,
    Approval,
    Cause,
    CauseKind,
    Change,
    Entity,
    Event,
    EventKind,
    Evidence,
    Finding,
    FindingKind,
    GuardAnswer,
    Incident,
    IncidentState,
    Label,
    Notice,
    Outcome,
    Run,
    RunKind,
    Sample,
    Series,
    SessionReport,
    Verdict,
)
from warehouse import (
    actions,
    alerts,
    approvals,
    audit,
    authors,
    calibrations,
    changes,
    cursors,
    deliveries,
    drift,
    entities,
    escalations,
    events,
    evidence,
    features,
    findings,
    incidents,
    journal,
    keys,
    labels,
    lineage,
    notices,
    promotions,
    quality,
    questions,
    rollups,
    samples,
    sessions,
    snapshots,
    training_sets,
    used_links,
    validations,
    verdicts,
)
from warehouse.database import Connection, Warehouse

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
INCIDENT = "incident-1"
PART = "component:transcoder-ch1"
THRESHOLD = calibrations.Calibrated(
    "transcode", "1", START, 0.7, 0.6, 0.8, 0.69, 0.05, "exponential", calibrations.Source.TRAINING, "calm"
)
VALIDATION = validations.Validation("validation", "transcode", "1", "2", {"longest_s": 60.0}, START)
PROMOTION = promotions.Promotion(
    "promotion",
    "transcode",
    "2",
    "1",
    promotions.Move.PROMOTE,
    "validation",
    "it finds more",
    promotions.Stage.WAITING,
    START,
    VALIDATION.id,
    START,
)


LINEAGE = lineage.Traced("transcode-isolation-forest", "1", "r", START, START, START, "d", entities=(PART,))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def finding(tenant: str, seconds: float = 3, **further: object) -> Finding:
    told = {"summary": "does not answer", "symptom": "scrape-refused", "features": {"up": 0.0}, "evidence": ("log",)}
    return Finding(tenant, PART, "rule:scrape-down", FindingKind.RULE, START, at(seconds), **(told | further))  # type: ignore[arg-type]


def incident(tenant: str, id_: str = INCIDENT, state: IncidentState = IncidentState.OPEN) -> Incident:
    return Incident(id_, tenant, state, START, at(5), "transcoder-ch1 is down", (PART,), impact_started=at(1))


def causes(incident_id: str = INCIDENT) -> list[Cause]:
    return [
        Cause(incident_id, 1, PART, CauseKind.CRASH, 0.9, ("it does not answer",), (PART, "component:packager")),
        Cause(incident_id, 2, "component:ingest-ch1", CauseKind.HANG, 0.1),
    ]


def action(incident_id: str = INCIDENT) -> Action:
    guards = (GuardAnswer("rate", True, "1 of 3"), GuardAnswer("grant", True, "the owner's"))
    return Action(incident_id, "restart", PART, 1, ActionState.INTENDED, "act", {"wait": "5"}, guards, intended=at(7))


def verdict(incident_id: str = INCIDENT) -> Verdict:
    slis = {"stalls": {"before": 3.0, "after": 0.0}}
    return Verdict(action(incident_id).key, incident_id, Outcome.WORKED, False, at(20), slis, "back in band")


def notice(tenant: str, incident_id: str = INCIDENT, state: str = "opened", created: float = 6) -> Notice:
    return Notice(tenant, incident_id, state, "L1", "email", "Sound is missing", "text", "<p>", created=at(created))


def report(session: str = "a", sequence: int = 0, seconds: float = 0) -> SessionReport:
    return SessionReport(
        session, "channel:ch1", "edge:edge-1", at(seconds), "t", "p", 250, None, 4000, sequence=sequence
    )


def sample(value: float = 1.0, seconds: float = 0, metric: str = "up") -> Sample:
    return Sample(Series(PART, metric, (("stage", "transcode"),)), at(seconds), value)


async def furnish(warehouse: Warehouse, tenant: str) -> None:
    """Give the tenant at least one row in every table."""
    async with warehouse.as_tenant(tenant) as db:
        await _furnish_watching(tenant, db)
        await _furnish_incident(tenant, db)
        await _furnish_books(tenant, db)
        await _furnish_features(tenant, db)
        await _furnish_validations(tenant, db)
        await _furnish_labels(tenant, db)


async def _furnish_watching(tenant: str, db: Connection) -> None:
    await entities.save(tenant, db, [Entity(PART, "transcode", {"job": "t"}, ("component:packager",))], START)
    await samples.append(tenant, db, [sample()])
    await deliveries.put(tenant, db, samples.columns_of([sample()]), START)
    await rollups.make(tenant, db, START, START + rollups.STEP)
    await sessions.save(tenant, db, [report()], START)
    await alerts.save(tenant, db, [Alert((("alertname", "Slow"),), START)], START, 1)
    await events.save(tenant, db, [Event("e", EventKind.AUTH, START, "someone", outcome="failure")], START)
    await changes.save(tenant, db, [Change("c", "release", PART, START, None, "someone", "a release")])
    await evidence.put(tenant, db, Evidence("hash", "logs", START, "text/plain", b"a line"))
    await cursors.set(tenant, db, "detection", {"time": 1}, START)
    await snapshots.save(tenant, db, "detection", START, b"state")


async def _furnish_incident(tenant: str, db: Connection) -> None:
    await findings.save(tenant, db, [finding(tenant)])
    await incidents.save(tenant, db, incident(tenant))
    await incidents.attach(tenant, db, INCIDENT, [finding(tenant).id])
    await incidents.set_causes(tenant, db, INCIDENT, causes(), at(6))
    await actions.intend(tenant, db, action())
    await verdicts.save(tenant, db, verdict())
    await notices.put(tenant, db, [notice(tenant)])


async def _furnish_books(tenant: str, db: Connection) -> None:
    run = Run("run", tenant, RunKind.DETECTION, START, at(5), outcome="completed")
    await journal.finish(tenant, db, run)
    await keys.create(tenant, db, purpose="players", scopes=["beacons"], now=START)
    words = {"who": "console", "what": "restart", "subject": PART, "reason": "it is down"}
    await audit.write(tenant, db, before=None, after={"state": "started"}, at=START, **words)
    values = {"tenant": tenant, "time": START}
    await db.execute(
        text("insert into settings_version values (:tenant, 1, '{}', 'someone', '', :time, 'demo')"), values
    )
    said = Label("label", "incident", INCIDENT, "ack", "someone", "I look", at(22))
    await labels.put(tenant, db, [said])
    await labels.heed(tenant, db, [said.id])
    yes = Approval("yes", action().key, "tonewatch", "someone", "it is down", at(7), at(900))
    await approvals.put(tenant, db, yes)
    await escalations.begin(tenant, db, INCIDENT, "L1", at(6), {})
    await used_links.use(tenant, db, "link", at(22))
    await calibrations.put(tenant, db, [THRESHOLD])


async def _furnish_features(tenant: str, db: Connection) -> None:
    view = features.StoredView(1, "transcode", "definition", 10.0, 1.0, ("lag_mean",), ("s",), "encoding")
    await features.put_view(tenant, db, view, START)
    one = features.FeatureColumns([PART], np.array([0]), np.array([0]), np.array([1.0]), np.array([[0.5]]))
    await features.put(tenant, db, view.id, one, START)
    check = drift.DriftCheck("transcode", at(0), at(-60), at(-600), at(1), "drift", "lag_mean", "run-1")
    shift = drift.DriftResult("data", "lag_mean", "level", 9.0, 1.5, 1e-9, 1e-8, "drift", 28, "+1.50")
    await drift.put(tenant, db, check, [shift])
    await drift.ask(tenant, db, drift.RetrainingRequest("transcode", START, 60.0, "drift", "it drifts"))
    await drift.accept(tenant, db, "transcode", "ann", "a new codec", START)
    clause = quality.Quality("transcode", START, "range", "lag_mean", False, 1, 2, "contracts", "1 of 2 rows")
    await quality.put(tenant, db, [clause])
    await quality.begin(tenant, db, [quality.DataBreach("transcode", "range", "lag_mean", START, "encoding", "1 of 2")])
    made = training_sets.TrainingSet(
        name="lags",
        version=1,
        hash="hash",
        view=view.id,
        definition=view.definition,
        started=START,
        ended=START,
        labels=1,
        found=1,
        entities=(PART,),
        sources={},
        request={},
        made=START,
    )
    await training_sets.put(tenant, db, made)


async def _furnish_validations(tenant: str, db: Connection) -> None:
    await validations.begin(tenant, db, VALIDATION)
    seen = validations.Observation("seen", "cost", START, {"champion_s": 0.1})
    await validations.observe(tenant, db, VALIDATION.id, [seen])
    alone = validations.Disagreement("alone", VALIDATION.id, PART, "challenger", START, at(5), 0.9, at(6))
    await validations.queue(tenant, db, [alone])
    await validations.look(tenant, db, looked(at(7)))
    await promotions.put(tenant, db, PROMOTION)


def looked(until: datetime, *, final: bool = False) -> validations.Looked:
    return validations.Looked(
        VALIDATION.id, until, "inconclusive", final, 0.1, -0.2, 0.4, 3, ("why",), {"pages": "open"}
    )


async def _furnish_labels(tenant: str, db: Connection) -> None:
    """Of labels: what stands behind one, an author's weight, a question; of models: lineage, one retired, one asked."""
    await labels.saw(tenant, db, INCIDENT, await labels.of_incident(tenant, db, INCIDENT))
    await authors.put(tenant, db, [authors.Weight("ann", START, 1.0, 0.7, 2.0, 3, False, "as others say")])
    await questions.put(tenant, db, questions.Question("incident", INCIDENT, "down", "nobody knows", 0.5, START))
    await lineage.put(tenant, db, LINEAGE)
    await lineage.retire(tenant, db, [replace(LINEAGE, version="0")], "an erasure", START)
    await lineage.request(tenant, db, [LINEAGE.model], "an erasure", START)
