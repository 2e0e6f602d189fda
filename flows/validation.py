"""Validation: challengers judge in shadow beside the champions, and one that is shown to be better takes the place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact

from flows.promotion import promote_due, retired_for
from ml.ab_plan import Answer, Judged
from tasks.adopt import adopt
from tasks.fetch import fetch, judge_for, own_of, unfit
from tasks.propose import RETIRED
from tasks.shadow import Pair, piece_of
from tasks.validate import HOT, Shadowed, begin, id_of, judged, mask, observe, ongoing, plan_for, takes_part, written
from tonewatch.clock import SYSTEM
from tonewatch.errors import (
    ModelError,
    ModelUncalibrated,
    ModelUnfit,
    SettingsError,
    TonewatchError,
    UnknownTenant,
)
from tonewatch.records import digest
from tonewatch.settings import Profile, Settings, read
from warehouse import calibrations, lineage, tenants, validations
from warehouse.calibrations import Source, model_version
from warehouse.database import Warehouse
from warehouse.tenants import everybody
from warehouse.validations import Looked, Validation

if TYPE_CHECKING:
    from ml.registry import Registered  # its module imports mlflow

LONGEST_DAYS = 28.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Contest:
    """A family's two models and the tenants that have a threshold for both."""

    family: str
    champion: Registered
    challenger: Registered
    pairs: Mapping[str, Pair]
    profiles: Mapping[str, Profile]

    @property
    def id(self) -> str:
        """Of the validation."""
        return id_of(self.family, self.champion.detector.version, self.challenger.detector.version)


async def readable(whose: Sequence[str], warehouse: Warehouse, failed: dict[str, str]) -> list[str]:
    """Those whose profile can be read; why one's cannot goes into `failed`, and keeps no other from its turn.

    Raises WarehouseAway.
    """
    found = []
    for slug in whose:
        try:
            async with warehouse.as_tenant(slug) as db:
                await tenants.profile(slug, db)
            found.append(slug)
        except UnknownTenant:  # it has left meanwhile
            continue
        except SettingsError as error:
            failed[slug] = str(error)
    return found


@flow(name="validation", flow_run_name="validation", log_prints=False)
async def validation(
    tenants: list[str] | None = None,
    challengers: dict[str, str] | None = None,
    as_of: datetime | None = None,
    longest_days: float = LONGEST_DAYS,
) -> list[dict[str, Any]]:
    """Go on with the validation of every challenger, on what was stored since the last run; begin it where it is new.

    tenants: whose streams they judge (default: all); challengers: family -> version (default:
    what the registry calls so, but no newer one before a validation that goes on has ended); longest_days: of the
    platform, for validations that begin now. First each tenant's calm sets its thresholds for those that judge and are
    judged, where it has none. A family or a tenant that fails keeps no other from its turn. Raises ModelError at
    the end, naming those that failed; the champion stays.
    """
    settings = read()
    now = as_of or SYSTEM.now()
    if now.tzinfo is None:
        raise SettingsError(f"no moment: {now}; give it with its zone")
    warehouse = Warehouse.from_settings(settings)
    failed: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    try:
        whose = tenants or await everybody(warehouse)
        wanted = tenants or await readable(whose, warehouse, failed)
        contests = await _contests(settings, warehouse, challengers, wanted, now)
        await _adopted(settings, warehouse, contests, wanted, now, failed)
        for family, (champion, challenger) in contests.items():
            try:
                pair = family, champion, challenger
                rows.append(await looked_at(settings, warehouse, pair, wanted, now, longest_days))
            except ModelUncalibrated as error:  # nothing that this run could mend: it is said, and asked again
                if challengers is not None:
                    failed[family] = str(error)
                get_run_logger().warning("%s", error)
            except TonewatchError as error:
                failed[family] = str(error)
                get_run_logger().error("the validation of %s stays as it is: %s", family, error)
        promoted, broken = await promote_due(whose, warehouse, settings, now)
    finally:
        await warehouse.close()
    for name, answer in promoted.items():
        for row in rows:
            row |= {"promoted": answer} if row["validation"] == name else {}
    failed |= {f"promotion {number}": why for number, why in enumerate(broken, start=1)}
    told = [*rows, *({"family": family, "failed": why} for family, why in failed.items())]
    await acreate_table_artifact(told, key="validation", description=_words(rows, failed))
    if failed:
        raise ModelError("; ".join(f"{family}: {why}" for family, why in failed.items()))
    return rows


async def _contests(
    settings: Settings, warehouse: Warehouse, named: Mapping[str, str] | None, wanted: Sequence[str], now: datetime
) -> dict[str, tuple[str, str]]:
    """Family -> (champion, challenger). Raises ModelError: the registry is away, or a named one cannot be compared.

    A challenger that is being validated is not superseded by a newer one: with a training a night none would ever be
    judged. It is by one that was trained because the champion cannot score: against that one none is judged.
    """
    from ml import registry  # imports mlflow: seconds that are only paid here

    uri = settings.mlflow_tracking_uri or ""
    champions = await asyncio.to_thread(registry.champion_versions, uri)
    waiting = named if named is not None else await asyncio.to_thread(registry.challenger_versions, uri)
    going: dict[tuple[str, str], str] = {}
    for tenant in wanted if named is None else ():
        going = await ongoing(tenant, warehouse, now) | going
    found = {}
    for family, newest in sorted(waiting.items()):
        champion = champions.get(family)
        challenger = going.get((family, champion or ""), newest)
        if champion is not None and challenger != newest and await _silent(settings, family, champion, newest):
            challenger = newest
        if champion is not None and champion != challenger:
            found[family] = (champion, challenger)
        elif named is not None:
            why = "it is the champion already" if champion else "the family has no champion to be held against"
            raise ModelError(f"{family} version {challenger} is not validated: {why}")
    return found


async def _adopted(
    settings: Settings,
    warehouse: Warehouse,
    contests: Mapping[str, tuple[str, str]],
    wanted: Sequence[str],
    now: datetime,
    failed: dict[str, str],
) -> None:
    """Each tenant's threshold, by its own calm, for every challenger that is judged now, and for every champion of a
    family of which nobody judges for it. What is retired for one of them scores for none. Why a tenant's cannot be set
    goes into `failed`.
    """
    from ml import registry

    uri, gone = settings.mlflow_tracking_uri or "", set[str]()
    champions = set((await asyncio.to_thread(registry.champion_versions, uri)).items())
    held = champions | {(family, challenger) for family, (_, challenger) in contests.items()}
    for tenant in wanted:
        async with warehouse.as_tenant(tenant) as db:
            gone |= await lineage.retired(tenant, db)
    held = {each for each in held if model_version(*each) not in gone}
    for tenant in wanted:
        try:
            passed_over = await strange(tenant, warehouse, uri, champions)
            passed_over |= await unasked(tenant, warehouse, contests, wanted)
            await adopt(tenant, warehouse, uri, held - passed_over, now)
        except TonewatchError as error:
            failed[f"thresholds of {tenant}"] = str(error)
            get_run_logger().error("the thresholds of %s stay as they are: %s", tenant, error)


async def strange(
    tenant: str, warehouse: Warehouse, uri: str, champions: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """The champions in whose place one before them judges for the tenant, which had no part in their promotion."""
    from ml import registry

    async with warehouse.as_tenant(tenant) as db:
        mine, gone = await calibrations.newest(tenant, db), await lineage.retired(tenant, db)
    own = {(each.family, each.version) for each in mine}
    lacking = {family: version for family, version in champions if (family, version) not in own}
    found: set[tuple[str, str]] = set()
    for each in mine:
        champion = (each.family, lacking.get(each.family, ""))
        if champion[1] and champion not in found and each.model_version not in gone:
            try:
                if await asyncio.to_thread(registry.has_judged, uri, each.family, each.version):
                    found.add(champion)
            except ModelError as error:  # a version that the registry has no more judges for nobody
                log.warning("%s", error)
    return found


async def unasked(
    tenant: str, warehouse: Warehouse, contests: Mapping[str, tuple[str, str]], wanted: Sequence[str]
) -> set[tuple[str, str]]:
    """The challengers whose promotion the tenant wants to be asked about, and will not be: their validation began
    without it. With a threshold for one it would be judged by it as soon as the others have promoted it.
    """
    async with warehouse.as_tenant(tenant) as db:
        if not (await tenants.profile(tenant, db)).approve_models:
            return set()
    found: set[tuple[str, str]] = set()
    for family, (champion, challenger) in contests.items():
        for other in wanted:
            async with warehouse.as_tenant(other) as db:
                kept = await validations.get(other, db, id_of(family, champion, challenger))
            if kept is not None:  # all who take part have the same plan
                found |= set() if takes_part(kept, tenant) else {(family, challenger)}
                break
    return found


async def contest_of(
    settings: Settings, warehouse: Warehouse, family: str, champion: str, challenger: str, wanted: Sequence[str]
) -> Contest:
    """Fetch both. Raises ModelUnfit: a model does not fit; ModelError: MLflow is away, or nobody has thresholds."""
    uri = settings.mlflow_tracking_uri or ""
    his, its = [await asyncio.to_thread(fetch, uri, family, each) for each in (champion, challenger)]
    pairs, profiles = {}, {}
    for tenant in wanted:
        async with warehouse.as_tenant(tenant) as db:
            mine = await calibrations.newest(tenant, db)
            profile = await tenants.profile(tenant, db)
            gone = await lineage.retired(tenant, db)
        if {model_version(family, each) for each in (champion, challenger)} & gone:
            raise ModelError(f"{family}: one of {champion} and {challenger} is retired: it may not score any more")
        if profile.light:
            continue
        sides = [judge_for(tenant, family, each, own_of(mine, family, each.detector.version)) for each in (his, its)]
        if sides[0] is None or sides[1] is None:
            log.warning("%s takes no part: %s has no threshold of its own for both", tenant, family)
            continue
        pairs[tenant], profiles[tenant] = Pair(sides[0], sides[1]), profile
    if not pairs:  # names no tenant: what comes of it is written in the rows of each
        raise ModelUncalibrated(
            f"no tenant of {len(wanted)} has thresholds for {family} {champion} and {challenger}; train it"
        )
    piece = max(piece_of(each) for each in profiles.values())
    for tenant in [tenant for tenant, each in profiles.items() if piece_of(each) != piece]:
        log.warning("%s takes no part: its day is shorter than others', and a plan counts by one", tenant)
        del pairs[tenant], profiles[tenant]
    return Contest(family, his, its, pairs, profiles)


async def looked_at(
    settings: Settings,
    warehouse: Warehouse,
    pair: tuple[str, str, str],
    wanted: Sequence[str],
    now: datetime,
    longest_days: float,
) -> dict[str, Any]:
    """Judge the pair; where the champion cannot score there is nothing to judge. Raises as `validated`."""
    why = await _silent(settings, *pair)
    if why:
        return await succeeding(settings, warehouse, pair, wanted, why, now)
    return await validated(settings, warehouse, pair, wanted, now, longest_days)


async def _silent(settings: Settings, family: str, champion: str, challenger: str) -> str:
    """Why the champion could not score when the challenger was trained; empty: they were compared, or are not these
    two. Raises ModelError: MLflow is away.
    """
    from ml import versions

    uri = settings.mlflow_tracking_uri or ""
    silent, why = await asyncio.to_thread(versions.succeeds, uri, family, challenger)
    return why if silent == champion else ""


async def succeeding(
    settings: Settings, warehouse: Warehouse, pair: tuple[str, str, str], wanted: Sequence[str], why: str, now: datetime
) -> dict[str, Any]:
    """A challenger whose champion cannot score goes the way of one that was shown to be better: to the recorded cases
    and to people, of every tenant that has a threshold for it. pair: as in `validated`.

    Raises ModelUncalibrated: none has.
    """
    family, champion, challenger = pair
    profiles = {}
    for tenant in wanted:
        async with warehouse.as_tenant(tenant) as db:
            if own_of(await calibrations.newest(tenant, db), family, challenger) is not None:
                profiles[tenant] = await tenants.profile(tenant, db)
    if not profiles:
        raise ModelUncalibrated(f"no tenant of {len(wanted)} has a threshold for {family} {challenger}; train it")
    longest = max(profiles.values(), key=lambda each: each.day_seconds)
    plan = plan_for(family, champion, challenger, list(profiles), now, longest, days=LONGEST_DAYS)
    name = digest(validations.SILENT, id_of(*pair))
    made = Validation(id_of(*pair), family, champion, challenger, written(plan), now)
    made = _renamed(made, name, list(profiles), validations.SILENT, champion)
    kept = await begin(list(profiles), warehouse, made)
    part = [tenant for tenant in profiles if takes_part(kept, tenant)]
    looked = await final_of(warehouse, kept, part)
    if looked is None:
        looked = Looked(name, now, Answer.BETTER, True, 0.0, -1.0, 1.0, 0, (why,), {})
        for tenant in part:
            async with warehouse.as_tenant(tenant) as db:
                await validations.look(tenant, db, looked)
    return _row(kept, looked, [])


async def validated(
    settings: Settings,
    warehouse: Warehouse,
    pair: tuple[str, str, str],
    wanted: Sequence[str],
    now: datetime,
    longest_days: float = LONGEST_DAYS,
) -> dict[str, Any]:
    """Go on with one validation, for these tenants. pair: family, champion, challenger. Raises as `contest_of`, and
    ModelError: the champion fails. A challenger that does not fit is worse; one that is retired waits no longer.
    """
    if await retired_for(wanted, warehouse, pair[0], pair[2]):
        return await _ended(settings, warehouse, pair, wanted, Answer.INCONCLUSIVE, RETIRED, now)
    try:
        contest = await contest_of(settings, warehouse, *pair, wanted)
    except ModelUnfit as error:
        if not await asyncio.to_thread(unfit, settings.mlflow_tracking_uri or "", pair[0], pair[2]):
            raise  # it is the champion that does not
        return await _ended(settings, warehouse, pair, wanted, Answer.WORSE, str(error), now)
    return await _validated(settings, warehouse, contest, now, longest_days)


async def _ended(
    settings: Settings,
    warehouse: Warehouse,
    pair: tuple[str, str, str],
    wanted: Sequence[str],
    answer: Answer,
    why: str,
    now: datetime,
) -> dict[str, Any]:
    """The verdict on a challenger that cannot, or may not, score: for good, and kept with its validation where that has
    begun. Raises ModelError: MLflow is away, and the next run says it again.
    """
    family, champion, challenger = pair
    told = Looked(id_of(*pair), now, answer, True, 0.0, -1.0, 1.0, 0, (why,), {})
    for tenant in wanted:
        async with warehouse.as_tenant(tenant) as db:
            for each in await validations.listed(tenant, db):
                mine = (each.family, each.champion, each.challenger) == pair and validations.PROBATION not in each.plan
                if mine:
                    await validations.look(tenant, db, replace(told, validation=each.id))
    await _dismissed(settings, family, challenger, told)
    kept = Validation(told.validation, family, champion, challenger, {}, now)
    return _row(kept, told, [])


async def _validated(
    settings: Settings, warehouse: Warehouse, contest: Contest, now: datetime, longest_days: float
) -> dict[str, Any]:
    kept = await _begun(warehouse, contest, now, longest_days)
    part = [tenant for tenant in contest.pairs if takes_part(kept, tenant)]
    if not part:
        raise ModelError(f"no tenant of the plan of {kept.family} {kept.challenger} takes part any more")
    told: Looked | Judged | None = await final_of(warehouse, kept, part)
    done: list[Shadowed] = []
    if told is None:
        done = await observed(warehouse, kept, contest, part, now)
        told = await judged(part, warehouse, kept, min(each.until for each in done))
    if told.final and told.answer != Answer.BETTER:
        await _dismissed(settings, kept.family, kept.challenger, told)
    return _row(kept, told, done)


async def observed(
    warehouse: Warehouse, kept: Validation, contest: Contest, part: Sequence[str], now: datetime
) -> list[Shadowed]:
    """What the stream of each of these tenants tells of both. One on which the champion fails keeps none of the others
    from being gone through. Raises ModelError then, after all of them; WarehouseAway.
    """
    done, failing = [], []
    for tenant in part:
        try:
            done.append(await observe(tenant, warehouse, kept, contest.pairs[tenant], contest.profiles[tenant], now))
        except ModelError as error:
            failing.append(error)
    if failing:
        raise failing[0]
    return done


def _row(kept: Validation, told: Looked | Judged, done: Sequence[Shadowed]) -> dict[str, Any]:
    return {
        "validation": kept.id,
        "family": kept.family,
        "challenger": kept.challenger,
        "champion": kept.champion,
        "answer": str(told.answer),
        "final": told.final,
        "reasons": "; ".join(told.reasons),
        "pieces": sum(each.pieces for each in done),
        "queued": sum(each.disagreements for each in done),
    }


async def _dismissed(settings: Settings, family: str, challenger: str, told: Looked | Judged) -> None:
    """It waits no longer: the next run holds the next challenger against the champion. Raises ModelError."""
    from ml import versions

    uri, verdict = settings.mlflow_tracking_uri or "", f"{told.answer}: {'; '.join(told.reasons)}"
    await asyncio.to_thread(versions.dismiss, uri, family, challenger, verdict)


async def _begun(warehouse: Warehouse, contest: Contest, now: datetime, longest_days: float) -> Validation:
    """The validation as it is kept with every tenant that takes part; it begins on what neither model learned from, nor
    any tenant's threshold for one of them that was adopted.
    """
    champion, challenger = contest.champion.detector.version, contest.challenger.detector.version
    learned = [datetime.fromisoformat(each.tags["data_end"]) for each in (contest.champion, contest.challenger)]
    for tenant in contest.pairs:
        async with warehouse.as_tenant(tenant) as db:
            mine = await calibrations.newest(tenant, db)
        own = [own_of(mine, contest.family, each) for each in (champion, challenger)]
        learned += [each.made for each in own if each is not None and each.source is Source.CALM]
    started = min(now, max(*learned, now - HOT))
    plan = plan_for(
        contest.family,
        champion,
        challenger,
        list(contest.pairs),
        started,
        next(iter(contest.profiles.values())),
        days=longest_days,
    )
    made = Validation(contest.id, contest.family, champion, challenger, written(plan), started)
    kept = await begin(list(contest.pairs), warehouse, made)
    while await _unseen(warehouse, kept, list(contest.pairs)):
        name = digest(validations.ANEW, kept.id)
        again = _renamed(made, name, list(contest.pairs), validations.ANEW, kept.id)
        kept = await begin(list(contest.pairs), warehouse, again)
    return kept


async def _unseen(warehouse: Warehouse, kept: Validation, whose: Sequence[str]) -> bool:
    """Whether its time is over and it has no answer, because nothing was observed."""
    over = kept.started + timedelta(seconds=kept.plan["longest_s"])
    for tenant in whose:
        async with warehouse.as_tenant(tenant) as db:
            newest = await validations.newest(tenant, db, kept.id)
        if newest is not None and not newest.final and newest.until >= over:
            return True
    return False


def _renamed(made: Validation, name: str, whose: Sequence[str], mark: str, of: str) -> Validation:
    """The same under another id, by which its tenants go by other masks. mark, of: what it is, and of whom."""
    masks = sorted(mask(name, tenant) for tenant in whose)
    return replace(made, id=name, plan={**made.plan, "tenants": masks, mark: of})


async def final_of(warehouse: Warehouse, kept: Validation, part: Sequence[str]) -> Looked | None:
    """The answer that nothing changes any more, kept with every tenant also where a run died before that; None: there
    is none yet.
    """
    found: Looked | None = None
    for tenant in part:
        async with warehouse.as_tenant(tenant) as db:
            newest = await validations.newest(tenant, db, kept.id)
        found = newest if found is None and newest is not None and newest.final else found
    if found is None:
        return None
    for tenant in part:
        async with warehouse.as_tenant(tenant) as db:
            await validations.look(tenant, db, found)
    return found


def _words(rows: Sequence[Mapping[str, Any]], failed: Mapping[str, str]) -> str:
    if not rows and not failed:
        return "No family has a challenger."
    ended = sum(bool(row["final"]) for row in rows)
    return f"{len(rows)} validations were looked at, {ended} have ended; {len(failed)} failed."
