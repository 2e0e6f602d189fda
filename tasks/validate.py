"""Validate: what shadows tell is kept per tenant, pooled over the tenants, and judged.

A validation has one id for all tenants that take part, and each keeps its own rows. In what is written of it a tenant
goes by a name that only itself can tell: another's rows must not say who else is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_store.definitions import metrics
from feature_store.history import STARVED, WATCHER
from ml.ab_plan import Answer, Guard, Judged, Plan, Proof
from ml.ab_test import GUARDS, LOSS, Calm, Cost, Crash, Observed, Outcome, judge, refutable_loss
from tasks.ask import worth
from tasks.judge import opinion_of
from tasks.shadow import Known, Pair, Seen, Stream, found_within, horizon, piece_of, shadow
from tasks.train import chains_of, families_of
from tonewatch.records import Incident, digest
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import cursors, incidents, lineage, promotions, questions, retention, samples, validations
from warehouse import entities as known_entities
from warehouse.calibrations import model_version
from warehouse.database import Connection, Warehouse
from warehouse.questions import Question
from warehouse.validations import Disagreement, Looked, Observation, Validation

#: Samples end after two days; what is older than this is not begun any more.
HOT = retention.LASTS["hot"] - timedelta(hours=1)
BURSTS_PER_DAY = 4
#: Follows, in place of a page's id, the entity of one that was told before the piece and still holds in it.
STILL = " still"
UNSEEN = "nothing was observed, so that nothing is decided: it begins anew"


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
    plan = Plan(
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
    return replace(plan, loss=refutable_loss(plan.longest // plan.burst * len(plan.tenants), plan.alpha_of_effect))


async def ongoing(tenant: str, warehouse: Warehouse, now: datetime) -> dict[tuple[str, str], str]:
    """(family, champion) -> the challenger whose validation against it goes on, of several the first that began.

    It goes on until its verdict is final, and one that is better until its promotion has ended in one way or another;
    no longer than twice what was planned, nor where it was begun anew. A probation keeps none from its turn: its
    challenger judges already.
    """
    found: dict[tuple[str, str], str] = {}
    async with warehouse.as_tenant(tenant) as db:
        retired = await lineage.retired(tenant, db)
        decided = {each.validation for each in await promotions.listed(tenant, db) if each.state in promotions.ENDS}
        for each in await validations.listed(tenant, db):  # the newest first
            if {validations.PROBATION, validations.ANEW} & each.plan.keys() or not takes_part(each, tenant):
                continue
            seen = await validations.newest(tenant, db, each.id)
            settled = each.promoted is not None or each.id in decided
            ended = seen is not None and seen.final and (seen.answer != Answer.BETTER or settled)
            over = now >= each.started + 2 * timedelta(seconds=each.plan["longest_s"])
            if not ended and not over and model_version(each.family, each.challenger) not in retired:
                found[each.family, each.champion] = each.challenger
    return found


def mask(validation: str, tenant: str) -> str:
    """What a tenant is called in what is written of a validation."""
    return f"tenant {digest(validation, tenant)[:8]}"


def takes_part(validation: Validation, tenant: str) -> bool:
    """Whether the tenant is in the plan: one that comes later is watched by the next validation."""
    return mask(validation.id, tenant) in validation.plan["tenants"]


async def begin(tenants: Sequence[str], warehouse: Warehouse, made: Validation) -> Validation:
    """Keep the validation with each of these tenants; gives the one that is kept.

    Where one of its id is kept with any of them that one's plan holds, and it is kept with those that are in it.
    """
    for tenant in tenants:
        async with warehouse.as_tenant(tenant) as db:
            kept = await validations.get(tenant, db, made.id)
        if kept is not None and takes_part(kept, tenant):
            made = replace(kept, promoted=None, taken_back=None)
            break
    for tenant in tenants:
        if takes_part(made, tenant):
            async with warehouse.as_tenant(tenant) as db:
                await validations.begin(tenant, db, made)
    return made


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
        "loss": plan.loss,
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
        loss=told.get("loss", LOSS),
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
    last = min(now - found_within(profile), validation.started + timedelta(seconds=validation.plan["longest_s"]))
    done = Shadowed(tenant, begun, 0, 0, 0)
    while begun + piece <= last:
        async with warehouse.as_tenant(tenant) as db:
            stream = await _stream(tenant, db, pair, begun, begun + piece, profile)
        # In a thread: the flow's heartbeats go on while models are asked.
        seen = await asyncio.to_thread(shadow, pair, stream, begun, profile)
        async with warehouse.as_tenant(tenant) as db:
            fresh = await validations.observe(tenant, db, validation.id, _observations(validation.id, tenant, seen))
            alone = _disagreements(validation.id, seen, now)
            queued = await validations.queue(tenant, db, alone)
            await _ask(tenant, db, pair, alone, now)
            await cursors.set(tenant, db, _cursor(validation), {"time": (begun + piece).isoformat()}, now)
        begun += piece
        done = Shadowed(tenant, begun, done.pieces + 1, done.observations + fresh, done.disagreements + queued)
    return done


async def judged(tenants: Sequence[str], warehouse: Warehouse, validation: Validation, until: datetime) -> Judged:
    """The answer from all that was observed of these tenants, kept with each of them. A final one stays as it is. Where
    nothing was observed none is final: such a validation begins anew.

    until: of every tenant all was seen up to then.
    """
    plan = read_back(validation)
    told = Observed(until)
    for tenant in tenants:
        async with warehouse.as_tenant(tenant) as db:
            seen = await validations.observed(tenant, db, validation.id)
            queued = await validations.queued(tenant, db, validation.id)
            opinion = await opinion_of(tenant, db)
        real = [each for each in queued if opinion.verdict(each.id)]
        told = _pooled(told, mask(validation.id, tenant), seen, real)
    answer = judge(plan, told)
    if answer.final and answer.answer == Answer.INCONCLUSIVE and answer.effect.count == 0:
        answer = replace(answer, final=False, reasons=(*answer.reasons, UNSEEN))
    for tenant in tenants:
        async with warehouse.as_tenant(tenant) as db:
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


async def _stream(tenant: str, db: Connection, pair: Pair, start: datetime, end: datetime, profile: Profile) -> Stream:
    """The family's samples around the piece, and the incidents that are known without a model."""
    family = pair.champion.family
    topology = Topology(await known_entities.load(tenant, db, end))
    parts = families_of(topology).get(family, ())
    first, last = start - horizon(pair, profile), end + found_within(profile) + timedelta(microseconds=1)
    read = await samples.read(tenant, db, first, last, entities=parts, metrics=sorted(metrics(family)))
    starved = await samples.read(tenant, db, first, last, entities=[WATCHER], metrics=[STARVED])
    chains = chains_of(topology, parts)
    return Stream(tenant, read, starved, chains, await _known(tenant, db, topology, chains, first, last))


async def _known(
    tenant: str, db: Connection, topology: Topology, chains: Mapping[str, int], start: datetime, end: datetime
) -> list[Known]:
    """Incidents in which a rule had part, and those that people's labels make real (ml/labelling.py)."""
    found: list[Known] = []
    there = await _there_within(tenant, db, start, end)
    opinion = await opinion_of(tenant, db) if there else None
    for incident in there:
        where = {
            chain for entity, chain in chains.items() if any(topology.related(entity, at) for at in incident.entities)
        }
        if where and opinion is not None and opinion.verdict(incident.id):
            over = incident.impact_ended or incident.closed or end
            found.append(Known(incident.id, incident.onset, frozenset(where), over))
    return found


async def _there_within(tenant: str, db: Connection, start: datetime, end: datetime) -> list[Incident]:
    """Incidents that began before `end` and were not over before `start`."""
    later = await incidents.closed_between(tenant, db, start, datetime.max.replace(tzinfo=UTC))
    found = {each.id: each for each in [*later, *await incidents.active(tenant, db)]}
    return [each for each in found.values() if each.onset < end]


def _observations(validation: str, tenant: str, seen: Seen) -> list[Observation]:
    told = [
        Observation(id_, "outcome", time, {"champion": his, "challenger": its, "injected": injected})
        for id_, (time, his, its, injected) in seen.outcomes.items()
    ]
    if seen.crash:
        return [Observation(_name(validation, tenant, "crash", seen), "crash", seen.start, {"error": seen.crash})]
    if seen.calm_seconds:
        pages = {
            who: [*(page.id for page in told), *(f"{entity}{STILL}" for entity in standing)]
            for who, told, standing in (
                ("champion", seen.champion_pages, seen.champion_standing),
                ("challenger", seen.challenger_pages, seen.challenger_standing),
            )
        }
        calm = {"seconds": seen.calm_seconds, **pages}
        told.append(Observation(_name(validation, tenant, "calm", seen), "calm", seen.start, calm))
    if seen.cost is not None:
        names = ("champion_s", "challenger_s", "champion_mb", "challenger_mb")
        cost = dict(zip(names, seen.cost, strict=True))
        told.append(Observation(_name(validation, tenant, "cost", seen), "cost", seen.start, cost))
    return told


def _name(validation: str, tenant: str, kind: str, seen: Seen) -> str:
    return digest(validation, tenant, kind, seen.start.isoformat())


async def _ask(tenant: str, db: Connection, pair: Pair, alone: Sequence[Disagreement], now: datetime) -> None:
    """Ask people about them: their word makes one an incident that one of the two found, and no page."""
    for each in alone:
        mine = pair.challenger if each.found_by == "challenger" else pair.champion
        title = f"{each.entity}, {each.started:%Y-%m-%d %H:%M:%S} to {each.ended:%H:%M:%S}"
        why = f"the {each.found_by} {mine.family}/{mine.version} would have told of it, the other would not"
        shown = {"score": round(each.score, 4), "threshold": round(mine.threshold, 4)}
        value = worth(0.5, [each.score], [mine.threshold])
        await questions.put(tenant, db, Question(validations.SUBJECT, each.id, title, why, value, now, shown))


def _disagreements(validation: str, seen: Seen, now: datetime) -> list[Disagreement]:
    return [
        Disagreement(page.id, validation, page.entity, who, page.first, page.until, page.score, now)
        for who, page in seen.alone()
    ]


def _pooled(before: Observed, tenant: str, seen: Sequence[Observation], real: Sequence[Disagreement]) -> Observed:
    """Those before and one more tenant's. real: by people's word an incident that one of the two found, no page."""
    by_id = {each.id: each for each in real}
    excused: dict[str, set[str]] = {"champion": set(), "challenger": set()}
    outcomes, calm, costs, crashes = ([*before.outcomes], [*before.calm], [*before.costs], [*before.crashes])
    for one in seen:
        told = one.content
        match one.kind:
            case "outcome":
                outcomes.append(Outcome(one.time, f"{tenant}/{one.id}", tenant, **told))
            case "calm":
                pages = [paged(told[who], by_id, excused[who]) for who in excused]
                calm.append(Calm(one.time, f"{tenant}/{one.id}", tenant, told["seconds"], *pages))
            case "cost":
                costs.append(Cost(one.time, f"{tenant}/{one.id}", tenant, **told))
            case "crash":
                crashes.append(Crash(one.time, f"{tenant}/{one.id}", tenant, told["error"]))
    for each in by_id.values():
        mine = each.found_by == "challenger"
        outcomes.append(Outcome(each.started, f"{tenant}/{each.id}", tenant, not mine, mine))
    return Observed(before.until, outcomes, calm, costs, crashes)


def paged(told: Sequence[str], real: Mapping[str, Disagreement], excused: set[str]) -> int:
    """How many of a piece's pages count. What people made real is none, nor is it where it still holds in the pieces
    that follow. excused: the entities of which that is so up to this piece; brought up to date.
    """
    still = {page.removesuffix(STILL) for page in told if page.endswith(STILL)} & excused
    excused.clear()
    excused.update(still, (real[page].entity for page in told if page in real))
    return sum(page not in real and page.removesuffix(STILL) not in still for page in told)


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
