"""Looks whether a tenant's views drift: windows from the feature store, a model's scores of them, people's verdicts.

What is said becomes rows; a drift asks for a retraining by the rule of policy/retraining.py, in the same transaction
and with a line in the audit. Nothing here waits for Prefect or MLflow: flows/drift.py delivers what was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from feature_store import offline
from feature_store.definitions import FAMILIES, floors
from feature_store.views import View, views
from feature_store.windows import Floats
from ml.champion import Champion, Failing, scoring
from ml.drift import Judged, Shift, Verdict, judge, unjudged, worst
from ml.drift_days import Hourly, Rows, hourly, together, without
from ml.drift_performance import Outcomes, ShareShift, performance
from ml.kinds import kinds, model_name
from ml.labelling import Opinion
from policy.retraining import Asked, Why, retraining
from tasks.judge import opinion_of
from tasks.train import LEARNED_DAYS
from tonewatch.clock import EPOCH, MICROSECOND, microseconds
from tonewatch.errors import FeatureError, ModelError
from tonewatch.settings import Profile
from warehouse import audit, drift, entities, lineage, tenants, validations
from warehouse.database import Connection, Warehouse
from warehouse.drift import ALL, DriftCheck, DriftResult, RetrainingRequest

#: Days of the platform: the reference's, and how long after its end people have had time to say what an incident was.
REFERENCE_DAYS, LATE_DAYS = 28, 2
#: While a view drifts its days are no reference: the drift would hide itself, within two days where these are a week's
#: free ones. What has lasted for so long is part of it all the same.
SUSPECT_DAYS = 14
#: Entities whose windows are in memory at once, and rows of the reference that pictures are made of.
AT_ONCE, PICTURED = 20, 50_000
#: A model's score lies between 0 and 1; less than this is not worth noticing.
SCORE_FLOOR = 0.02
SCORE = "score"
#: What stands in place of a view where people's verdicts are compared; models of all families share them.
INCIDENTS = "incidents"
WHO = "drift"


@dataclass(frozen=True, slots=True)
class Checked:
    """A check of a view that is kept. new: it was not kept before; request: the retraining that it asked for."""

    tenant: str
    check: DriftCheck
    results: tuple[DriftResult, ...]
    new: bool
    request: RetrainingRequest | None
    rest: str


@dataclass(frozen=True, slots=True)
class Span:
    """What is compared: the day that ends at `end` with what lies from `reference` to its beginning, but for its newest
    `suspect` days.
    """

    end: datetime
    day: timedelta
    reference: datetime
    suspect: int = 0

    @property
    def start(self) -> datetime:
        """Where the current day begins."""
        return self.end - self.day

    @property
    def days(self) -> int:
        """Whole days of the reference, and the current one."""
        return int((self.start - self.reference) / self.day) + 1


async def check(
    tenant: str,
    warehouse: Warehouse,
    champions: Mapping[str, Champion] | None,
    now: datetime,
    failing: Sequence[Failing] = (),
) -> list[Checked]:
    """Check every view of which the tenant has entities, and people's verdicts; keep what was found.

    champions: by family; without one a view's scores are not looked at; None: nobody knows who judges, and references
    begin where they began. failing: champions that cannot score; of theirs, and of one that fails on the windows, the
    scores are unjudged. Raises UnknownTenant; SettingsError; WarehouseAway.
    """
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
    done = []
    for each in views(profile):
        champion = (champions or {}).get(each.name)
        broken = next((one for one in failing if one.family == each.name), None)
        judging = champion or broken
        version = None if champions is None else judging.version if judging else ""
        span, names = await _span(tenant, warehouse, each, profile, version, now)
        if not names:
            continue
        data, scores = await _judged(tenant, warehouse, each, names, span, _told_by_rows(champion))
        if broken is not None:
            scores = unjudged((SCORE,), broken.why)
        scores = scores or _not_told_by_rows(champion, each, profile)
        results = [*_rows("data", data), *(_rows("scores", scores) if scores else [])]
        done.append(await _kept(tenant, warehouse, each.name, span, results, now))
    done.append(await _verdicts(tenant, warehouse, profile, now))
    return done


async def _span(
    tenant: str, warehouse: Warehouse, of: View, profile: Profile, judging: str | None, now: datetime
) -> tuple[Span, Sequence[str]]:
    """What to compare, and whose windows: of the entities that are there now. judging: see `_normal_since`."""
    day = timedelta(seconds=profile.day_seconds)
    hour = day // 24
    # Rows are made a window late, and an hour's end is a step of the season.
    end = now - timedelta(seconds=of.seconds) * 2
    end -= (end - EPOCH) % hour
    async with warehouse.as_tenant(tenant) as db:
        names = await entities.within(tenant, db, of.entity, end - day, end)
        since = await _normal_since(tenant, db, of.name, judging)
        drifting = await drift.since(tenant, db, of.name)
    reference = end - day * (REFERENCE_DAYS + 1)
    span = Span(end, day, reference if since is None else min(max(reference, since), end - day))
    if drifting is None or drifting - day < span.reference or end - drifting > SUSPECT_DAYS * day:
        return span, names
    return replace(span, suspect=-(-max(end - drifting, timedelta()) // day)), names


async def _normal_since(tenant: str, db: Connection, view: str, judging: str | None) -> datetime | None:
    """Where the reference may begin at the earliest: with a person's word, or with a model that drift asked for.

    judging: the version of the model that judges, empty: none does. A challenger that was learned since has shown
    nothing yet: what it learned is not normal before it judges. None: it is not known, and the reference begins no
    earlier than it did.
    """
    accepted = await drift.accepted(tenant, db, view)
    if judging is None:
        before = await drift.last(tenant, db, view)
        return max((each for each in (accepted, *(one.reference_start for one in before)) if each), default=None)
    by_drift = await _learned_for(tenant, db, view, judging) if judging else None
    return max((each for each in (accepted, by_drift) if each is not None), default=None)


async def _learned_for(tenant: str, db: Connection, view: str, judging: str) -> datetime | None:
    """When what the view shows was last learned because of it: of a drift, or of a person who asked for that view.

    By the version that judges or one before it. What the schedule or labels bring week by week begins nothing anew.
    """
    learned = await drift.learned(tenant, db, view, judging)
    requests = await drift.requests(tenant, db, view)
    if learned is None or not requests:
        return None
    models = [model_name(view, kind) for kind in kinds()]
    runs = [each.flow_run for each in requests if each.flow_run]
    return await lineage.learned_for(tenant, db, models, Why.DRIFT, runs, requests[0].asked, learned)


async def _judged(
    tenant: str, warehouse: Warehouse, of: View, names: Sequence[str], span: Span, champion: Champion | None
) -> tuple[Judged, Judged | None]:
    """The windows, and the model's scores of them: some entities at a time, of which only hours are kept."""
    data: list[Hourly] = []
    scores: list[Hourly] = []
    fails = ""
    for first in range(0, len(names), AT_ONCE):
        rows = await _windows(tenant, warehouse, of, names[first : first + AT_ONCE], span.reference, span.end)
        data.append(_hourly(rows, span))
        if champion is not None and not fails:
            try:
                scores.append(_hourly(await asyncio.to_thread(_scored, champion, rows), span))
            except ModelError as error:
                fails = str(error)
    told = judge(together(data), of.names, floors(of.name))
    if fails:
        return told, unjudged((SCORE,), fails)
    return told, judge(together(scores), (SCORE,), (SCORE_FLOOR,)) if scores else None


async def _windows(
    tenant: str, warehouse: Warehouse, of: View, names: Sequence[str], start: datetime, end: datetime
) -> Rows:
    """The windows within (start, end]; none where the view has no rows as it is defined now."""
    try:
        async with warehouse.as_tenant(tenant) as db:
            found = await offline.stretch(tenant, db, of, names, start, end)
    except FeatureError:
        return Rows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, len(of.names))))
    return Rows(found.places, found.times, found.numbers)


def _hourly(rows: Rows, span: Span) -> Hourly:
    return without(hourly(rows, microseconds(span.end), span.day // MICROSECOND, span.days), span.suspect)


def _told_by_rows(champion: Champion | None) -> Champion | None:
    """It, if a window alone is what it judges: the store keeps no windows a tick apart for the others."""
    return champion if champion is not None and not champion.detector.looks_back else None


def _not_told_by_rows(champion: Champion | None, of: View, profile: Profile) -> Judged | None:
    """Why the windows that are kept give no scores of such a model; None: they would, or there is none."""
    back = champion.detector.looks_back if champion is not None else 0
    if champion is None or not back:
        return None
    judges = f"the {champion.detector.kind} judges a window by the {back} before it, {profile.tick_seconds:g} s apart"
    return unjudged((SCORE,), f"{judges}; the store keeps one each {of.seconds:g} s")


def _scored(champion: Champion, rows: Rows) -> Rows:
    scores = np.full((len(rows.values), 1), np.nan)
    with scoring(champion.family, champion.version):
        usable = champion.detector.usable(rows.values)
        scores[usable, 0] = champion.detector.score(rows.values[usable])
    return Rows(rows.places, rows.times, scores)


def _rows(subject: str, told: Judged) -> list[DriftResult]:
    return [_row(subject, each) for each in told.shifts]


def _row(subject: str, of: Shift) -> DriftResult:
    numbers = (of.statistic, of.effect, of.p, of.q)
    return DriftResult(subject, of.feature, of.aspect, *numbers, of.verdict, of.days, of.told)


async def _verdicts(tenant: str, warehouse: Warehouse, profile: Profile, now: datetime) -> Checked:
    """What people said of the incidents of four weeks, compared with the four before: late, since they answer late."""
    day = timedelta(seconds=profile.day_seconds)
    end = now - LATE_DAYS * day
    end -= (end - EPOCH) % day
    start = end - REFERENCE_DAYS * day
    async with warehouse.as_tenant(tenant) as db:
        before = await drift.told(tenant, db, start - REFERENCE_DAYS * day, start)
        lately = await drift.told(tenant, db, start, end)
        said = await opinion_of(tenant, db)
    told = performance(_outcomes(before, said), _outcomes(lately, said))
    span = Span(end, end - start, start - REFERENCE_DAYS * day)
    return await _kept(tenant, warehouse, INCIDENTS, span, [_share(each) for each in told], now)


def _outcomes(told: Mapping[str, bool], opinion: Opinion) -> Outcomes:
    """What labels make of the incidents, by the gate that all labels pass; where only one person could be asked, his
    word counts: it asks for a training, and makes no model.
    """
    false = real = missed = 0
    for incident, by_model in told.items():
        was_real = opinion.verdict(incident)
        false += was_real is False and by_model
        real += was_real is True and by_model
        missed += was_real is True and not by_model
    return Outcomes(false, real, missed)


def _share(of: ShareShift) -> DriftResult:
    return DriftResult("labels", of.name, "share", None, of.effect, of.p, of.q, of.verdict, of.of, of.told)


async def _kept(
    tenant: str, warehouse: Warehouse, view: str, span: Span, results: list[DriftResult], now: datetime
) -> Checked:
    """Keep the check, and what it asks for."""
    verdict = worst([Verdict(each.verdict) for each in results])
    made = DriftCheck(view, span.end, span.start, span.reference, now, verdict, _words(verdict, results, span))
    async with warehouse.as_tenant(tenant) as db:
        await drift.in_turn(tenant, db)
        request, rest = None, ""
        if await drift.put(tenant, db, made, results):
            if verdict is Verdict.DRIFT:
                request, rest = await _ask(tenant, db, made, now, span)
            return Checked(tenant, made, tuple(results), True, request, rest)
    return Checked(tenant, made, tuple(results), False, None, "this window was checked before")


def _words(verdict: Verdict, results: Sequence[DriftResult], span: Span) -> str:
    """What people read first: ids of features and figures."""
    told = [f"{each.subject} {each.feature} {each.aspect}: {each.told}" for each in results if each.verdict == verdict]
    match verdict:
        case Verdict.UNJUDGED:
            since = f"the reference begins at {span.reference:%Y-%m-%d %H:%M}"
            return f"cannot be judged yet: {results[0].told if results else 'nothing to judge'}; {since}"
        case Verdict.STEADY:
            return "steady"
        case _:
            return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


async def _ask(
    tenant: str, db: Connection, of: DriftCheck, now: datetime, span: Span
) -> tuple[RetrainingRequest | None, str]:
    """The request that the drift makes, kept and audited, or why it makes none."""
    before = [each for each in await drift.requests(tenant, db, of.view) if not each.dropped]
    last = asked(before[-1]) if before else None
    day = span.day if of.view != INCIDENTS else span.day / REFERENCE_DAYS
    shadowed = await _shadowed(tenant, db, of.view, before)
    whole = await drift.requests(tenant, db, ALL)
    other = asked(whole[-1]).at if whole else None
    decided = retraining(now, last, await drift.calm(tenant, db, of.view), day, shadowed, other)
    if not decided.ask:
        return None, decided.why
    reason = f"{of.told} ({decided.why})"
    request = RetrainingRequest(of.view, now, decided.rest.total_seconds(), WHO, reason, why=Why.DRIFT.value)
    await ask(tenant, db, request)
    return request, decided.why


async def _shadowed(tenant: str, db: Connection, view: str, before: Sequence[RetrainingRequest]) -> datetime | None:
    """When the validation of what the last request brought ends at the latest; None: none goes on.

    People's verdicts ask for all families: what they bring would wait behind the validation of any.
    """
    if view != INCIDENTS:
        return await validations.undecided(tenant, db, view, before[-1].asked) if before else None
    ends = [await validations.undecided(tenant, db, family, EPOCH, whoever=True) for family in FAMILIES]
    return max((each for each in ends if each is not None), default=None)


async def ask(tenant: str, db: Connection, request: RetrainingRequest) -> None:
    """Keep a request for a retraining, with its line in the audit."""
    await drift.ask(tenant, db, request)
    await audit.write(
        tenant,
        db,
        who=request.who,
        what="retraining-asked",
        subject=f"view:{request.view}",
        before=None,
        after={"rests_seconds": request.cool_down_seconds},
        reason=request.reason,
        at=request.asked,
    )


def asked(of: RetrainingRequest) -> Asked:
    """The request as the rule of policy/retraining.py reads it."""
    return Asked(of.delivered or of.asked, timedelta(seconds=of.cool_down_seconds), of.waits)


async def waiting(tenant: str, db: Connection, now: datetime) -> list[RetrainingRequest]:
    """The requests that wait to be handed over, the oldest first. A drift that is over asks for nothing: its request is
    dropped, with the reason in the row and in the audit.
    """
    found = []
    for each in await drift.requests(tenant, db):
        over = await _over(tenant, db, each) if each.waits and each.who == WHO else ""
        if over:
            await _drop(tenant, db, each, over, now)
        elif each.waits:
            found.append(each)
    return found


async def _over(tenant: str, db: Connection, request: RetrainingRequest) -> str:
    """Why what the drift asked for is not needed any more; empty: it is."""
    accepted = await drift.accepted(tenant, db, request.view)
    if accepted is not None and accepted > request.asked:
        return f"what the view shows was accepted at {accepted:%Y-%m-%d %H:%M}"
    calm = await drift.calm(tenant, db, request.view)
    if calm is not None and calm > request.asked:
        return f"the view was found steady at {calm:%Y-%m-%d %H:%M}"
    return ""


async def _drop(tenant: str, db: Connection, request: RetrainingRequest, why: str, now: datetime) -> None:
    await drift.drop(tenant, db, request, why)
    words = {"who": WHO, "what": "retraining-dropped", "subject": f"view:{request.view}", "reason": why}
    await audit.write(tenant, db, **words, before={"asked": request.asked.isoformat()}, after=None, at=now)


def due(request: RetrainingRequest, now: datetime, day: timedelta) -> bool:
    """Whether the request may be handed over. What drifted must have been there for as long as a training learns from:
    before that it would learn the days before the drift once more, and be as wrong. A person's word is due at once.
    """
    waits = request.who == WHO and request.view != INCIDENTS
    return now >= request.asked + (LEARNED_DAYS * day if waits else timedelta())


async def accept(tenant: str, db: Connection, view: str, who: str, reason: str, now: datetime) -> None:
    """Keep a person's word that what the view shows is normal from now on, with its line in the audit."""
    await drift.accept(tenant, db, view, who, reason, now)
    words = {"who": who, "what": "drift-accepted", "subject": f"view:{view}", "reason": reason}
    await audit.write(tenant, db, **words, before=None, after={"normal_since": now.isoformat()}, at=now)


async def pictured(tenant: str, warehouse: Warehouse, of: DriftCheck) -> tuple[tuple[str, ...], Floats, Floats]:
    """The names of the view's features, and windows of the reference and of the day, thinned out where there are many.

    Raises FeatureError: the rows are of another definition now; SettingsError.
    """
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
        wanted = next(each for each in views(profile) if each.name == of.view)
        names = await entities.within(tenant, db, wanted.entity, of.window_start, of.window_end)
    parts: list[Rows] = []
    for name in names[:AT_ONCE]:
        rows = await _windows(tenant, warehouse, wanted, [name], of.reference_start, of.window_end)
        parts.append(rows)
    times = np.concatenate([each.times for each in parts])
    values = np.concatenate([each.values for each in parts])
    current = times > microseconds(of.window_start)
    reference = values[~current]
    return wanted.names, reference[:: max(1, len(reference) // PICTURED)], values[current]
