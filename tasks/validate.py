"""Validate: what shadows tell is kept per tenant, pooled over the tenants, and judged.

A validation has one id for all tenants that take part, and each keeps its own rows. In what is written of it a tenant
goes by a name that only itself can tell: another's rows must not say who else is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from feature_store.definitions import metrics
from feature_store.history import STARVED, WATCHER
from ml.ab_plan import Answer, Guard, Judged, Plan, Proof
from ml.ab_test import GUARDS, Calm, Cost, Crash, Observed, Outcome, judge
from tasks.detect import HORIZON
from tasks.shadow import FOUND_WITHIN, Known, Pair, Seen, Stream, piece_of, shadow
from tasks.train import chains_of, families_of
from tonewatch.records import FindingKind, digest
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import cursors, findings, incidents, labels, lineage, retention, samples, validations
from warehouse import entities as known_entities
from warehouse.calibrations import model_version
from warehouse.database import Connection, Warehouse
from warehouse.validations import Disagreement, Looked, Observation, Validation

#: Samples end after two days; what is older than this is not begun any more.
HOT = retention.LASTS["hot"] - timedelta(hours=1)
BURSTS_PER_DAY = 4
REAL, FALSE = "verdict:real", "verdict:false-alarm"


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What a run did for one tenant: until when all is seen, pieces gone through, and what was new."""

    tenant: str
    until: datetime
    pieces: int
    observations: int
    disagreements: int


def id_of(family: str, champion: str, challenger: str) -> str:
    """The validation of a pair of versions: it is judged once."""
    return digest("validation", family, champion, challenger)


def plan_for(
    family: str,
    champion: str,
    challenger: str,
    tenants: Sequence[str],
    started: datetime,
    profile: Profile,
    *,
    days: float,
) -> Plan:
    """What is decided before the first observation; days: of the platform, at most. Raises ModelError: see `Plan`."""
    day, piece = timedelta(seconds=profile.day_seconds), piece_of(profile)
    name = id_of(family, champion, challenger)
    return Plan(
        name=f"{family} {challenger} against {champion}",
        champion=champion,
        challenger=challenger,
        tenants=tuple(sorted(mask(name, tenant) for tenant in tenants)),
        started=started,
        guards=GUARDS,
        # Whole pieces, or a burst would be judged before all of it was seen.
        longest=-(-days * day // piece) * piece,
        burst=-(-day / BURSTS_PER_DAY // piece) * piece,
        day=day,
    )


async def ongoing(tenant: str, warehouse: Warehouse, now: datetime) -> dict[tuple[str, str], str]:
    """(family, champion) -> the challenger whose validation against it goes on, of several the first that began.

    It goes on until its verdict is final, and one that is better until it is promoted; no longer than was planned.
    """
    found: dict[tuple[str, str], str] = {}
    async with warehouse.as_tenant(tenant) as db:
        retired = await lineage.retired(tenant, db)
        for each in await validations.listed(tenant, db):  # the newest first
            seen = await validations.newest(tenant, db, each.id)
            ended = seen is not None and seen.final and (seen.answer != Answer.BETTER or each.promoted is not None)
            over = now >= each.started + 2 * timedelta(seconds=each.plan["longest_s"])
            if not ended and not over and model_version(each.family, each.challenger) not in retired:
                found[each.family, each.champion] = each.challenger
    return found


def mask(validation: str, tenant: str) -> str:
    """What a tenant is called in what is written of a validation."""
    return f"tenant {digest(validation, tenant)[:8]}"


def written(plan: Plan) -> dict[str, Any]:
    """The plan as it is kept."""
    return {
        "name": plan.name,
        "tenants": list(plan.tenants),
        "longest_s": plan.longest.total_seconds(),
        "burst_s": plan.burst.total_seconds(),
        "day_s": plan.day.total_seconds(),
        "minimum_effect": plan.minimum_effect,
        "alpha": plan.alpha,
        "guards": [[each.name, each.tolerance, str(each.proof), each.least] for each in plan.guards],
    }


def read_back(kept: Validation) -> Plan:
    """The plan of a validation that is kept."""
    told = kept.plan
    return Plan(
        name=told["name"],
        champion=kept.champion,
        challenger=kept.challenger,
        tenants=tuple(told["tenants"]),
        started=kept.started,
        guards=tuple(Guard(name, tolerance, Proof(proof), least) for name, tolerance, proof, least in told["guards"]),
        longest=timedelta(seconds=told["longest_s"]),
        minimum_effect=told["minimum_effect"],
        alpha=told["alpha"],
        burst=timedelta(seconds=told["burst_s"]),
        day=timedelta(seconds=told["day_s"]),
    )


async def observe(
    tenant: str,
    warehouse: Warehouse,
    validation: Validation,
    pair: Pair,
    profile: Profile,
    now: datetime,
) -> Shadowed:
    """Go through the pieces since the last run, as far as their samples are hot, and keep what they tell.

    A piece and the cursor are kept together: a run that broke off is carried on by the next. Raises ModelError: the
    champion fails; WarehouseAway.
    """
    piece = piece_of(profile)
    begun = await _next_piece(tenant, warehouse, validation, piece, now)
    last = min(now - FOUND_WITHIN, validation.started + timedelta(seconds=validation.plan["longest_s"]))
    done = Shadowed(tenant, begun, 0, 0, 0)
    while begun + piece <= last:
        async with warehouse.as_tenant(tenant) as db:
            stream = await _stream(tenant, db, pair.champion.family, begun, begun + piece, profile)
        # In a thread: the flow's heartbeats go on while models are asked.
        seen = await asyncio.to_thread(shadow, pair, stream, begun, profile)
        async with warehouse.as_tenant(tenant) as db:
            fresh = await validations.observe(tenant, db, validation.id, _observations(validation.id, tenant, seen))
            queued = await validations.queue(tenant, db, _disagreements(validation.id, tenant, seen, now))
            await cursors.set(tenant, db, _cursor(validation), {"time": (begun + piece).isoformat()}, now)
        begun += piece
        done = Shadowed(tenant, begun, done.pieces + 1, done.observations + fresh, done.disagreements + queued)
    return done


async def judged(tenants: Sequence[str], warehouse: Warehouse, validation: Validation, until: datetime) -> Judged:
    """The answer from all that was observed of these tenants, kept with each of them. A final one stays as it is.

    until: of every tenant all was seen up to then.
    """
    plan = read_back(validation)
    told = Observed(until)
    for tenant in tenants:
        async with warehouse.as_tenant(tenant) as db:
            seen = await validations.observed(tenant, db, validation.id)
            queued = await validations.queued(tenant, db, validation.id)
        told = _pooled(told, mask(validation.id, tenant), seen, queued)
    answer = judge(plan, told)
    for tenant in tenants:
        async with warehouse.as_tenant(tenant) as db:
            before = await validations.newest(tenant, db, validation.id)
            if before is None or not before.final:
                await validations.look(tenant, db, _looked(validation.id, answer))
    return answer


async def _next_piece(
    tenant: str, warehouse: Warehouse, validation: Validation, piece: timedelta, now: datetime
) -> datetime:
    async with warehouse.as_tenant(tenant) as db:
        told = await cursors.get(tenant, db, _cursor(validation))
    begun = datetime.fromisoformat(told["time"]) if told else validation.started
    gone = max(timedelta(), now - HOT - begun)
    return begun + -(-gone // piece) * piece


def _cursor(validation: Validation) -> str:
    return f"validation:{validation.id}"


async def _stream(tenant: str, db: Connection, family: str, start: datetime, end: datetime, profile: Profile) -> Stream:
    """The family's samples around the piece, and the incidents that are known without a model."""
    topology = Topology(await known_entities.load(tenant, db, end))
    parts = families_of(topology).get(family, ())
    first, last = start - HORIZON, end + FOUND_WITHIN + timedelta(microseconds=1)
    read = await samples.read(tenant, db, first, last, entities=parts, metrics=sorted(metrics(family)))
    starved = await samples.read(tenant, db, first, last, entities=[WATCHER], metrics=[STARVED])
    chains = chains_of(topology, parts)
    return Stream(tenant, read, starved, chains, await _known(tenant, db, topology, chains, first, last))


async def _known(
    tenant: str, db: Connection, topology: Topology, chains: Mapping[str, int], start: datetime, end: datetime
) -> list[Known]:
    """Incidents in which a rule had part, or that people called real, unless they called them false alarms."""
    found: list[Known] = []
    for incident in await incidents.opened_since(tenant, db, start):
        if incident.onset >= end:
            continue
        where = {
            chain for entity, chain in chains.items() if any(topology.related(entity, at) for at in incident.entities)
        }
        said = {label.value for label in await labels.of_incident(tenant, db, incident.id)}
        ruled = any(each.kind is FindingKind.RULE for each in await findings.of_incident(tenant, db, incident.id))
        if where and FALSE not in said and (ruled or REAL in said):
            found.append(Known(incident.id, incident.onset, frozenset(where)))
    return found


def _observations(validation: str, tenant: str, seen: Seen) -> list[Observation]:
    told = [
        Observation(id_, "outcome", time, {"champion": his, "challenger": its, "injected": injected})
        for id_, (time, his, its, injected) in seen.outcomes.items()
    ]
    if seen.crash:
        return [Observation(_name(validation, tenant, "crash", seen), "crash", seen.start, {"error": seen.crash})]
    if seen.calm_seconds:
        pages = {"champion": [page.id for page in seen.champion_pages]}
        pages["challenger"] = [page.id for page in seen.challenger_pages]
        calm = {"seconds": seen.calm_seconds, **pages}
        told.append(Observation(_name(validation, tenant, "calm", seen), "calm", seen.start, calm))
    if seen.cost is not None:
        names = ("champion_s", "challenger_s", "champion_mb", "challenger_mb")
        cost = dict(zip(names, seen.cost, strict=True))
        told.append(Observation(_name(validation, tenant, "cost", seen), "cost", seen.start, cost))
    return told


def _name(validation: str, tenant: str, kind: str, seen: Seen) -> str:
    return digest(validation, tenant, kind, seen.start.isoformat())


def _disagreements(validation: str, tenant: str, seen: Seen, now: datetime) -> list[Disagreement]:
    return [
        Disagreement(page.id, validation, page.entity, who, page.first, page.until, page.score, now)
        for who, page in seen.alone()
    ]


def _pooled(before: Observed, tenant: str, seen: Sequence[Observation], queued: Sequence[Disagreement]) -> Observed:
    """Those before and one more tenant's. What people called real is an incident that one of the two found, no page."""
    real = {each.id: each for each in queued if each.verdict == REAL}
    outcomes, calm, costs, crashes = ([*before.outcomes], [*before.calm], [*before.costs], [*before.crashes])
    for one in seen:
        told = one.content
        match one.kind:
            case "outcome":
                outcomes.append(Outcome(one.time, f"{tenant}/{one.id}", tenant, **told))
            case "calm":
                pages = [sum(page not in real for page in told[who]) for who in ("champion", "challenger")]
                calm.append(Calm(one.time, f"{tenant}/{one.id}", tenant, told["seconds"], *pages))
            case "cost":
                costs.append(Cost(one.time, f"{tenant}/{one.id}", tenant, **told))
            case "crash":
                crashes.append(Crash(one.time, f"{tenant}/{one.id}", tenant, told["error"]))
    for each in real.values():
        mine = each.found_by == "challenger"
        outcomes.append(Outcome(each.started, f"{tenant}/{each.id}", tenant, not mine, mine))
    return Observed(before.until, outcomes, calm, costs, crashes)


def _looked(validation: str, answer: Judged) -> Looked:
    return Looked(
        validation=validation,
        until=answer.until,
        answer=str(answer.answer),
        final=answer.final,
        estimate=answer.effect.estimate,
        low=answer.effect.low,
        high=answer.effect.high,
        counted=answer.effect.count,
        reasons=answer.reasons,
        guards={each.guard.name: str(each) for each in answer.guards},
    )
