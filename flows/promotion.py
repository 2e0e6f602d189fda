"""Promotion: a challenger that a validation has shown to be better becomes champion; the one place where an alias moves
by itself.

First the recorded incidents are asked whether any gets worse, then, where the tenant's profile wants it, a person; then
the alias moves. Where it stands is in rows: any run carries on from there, and Prefect being away holds nothing up.
What a person wrote, and what a case is called, stays in the rows of its tenant: others, MLflow and Prefect are told a
code (tasks/propose.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from prefect import flow, get_run_logger, runtime
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRunInput
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.states import Cancelled
from pydantic import Field, ValidationError

from flows.gate import held_by_cases
from ml.ab_plan import Answer
from tasks.fetch import unfit
from tasks.promote import champion_of, move, settle
from tasks.propose import AGAIN, RETIRED, UNANSWERED, UNFIT, WORSE, code, end, proposal, propose, tell
from tasks.validate import takes_part
from tonewatch.clock import SYSTEM
from tonewatch.errors import ActRefused, ModelError, SettingsError, TonewatchError
from tonewatch.settings import Profile, Settings, addressed, read
from warehouse import answers, lineage, promotions, tenants, validations
from warehouse.calibrations import model_version
from warehouse.database import Warehouse
from warehouse.promotions import ENDS, Promotion, Stage
from warehouse.tenants import everybody
from warehouse.validations import Validation

DEPLOYMENT = "promotion/promotion"
OTHERWISE = "it was made champion otherwise"
#: Of rows of a validation whose challenger has become champion by them.
JUDGED = frozenset({Stage.PROBATION, Stage.KEPT, Stage.TAKEN_BACK})
#: By what name Prefect keeps what was typed into the form of a run that was suspended under the key ANSWER.
ANSWER = "answer"
TYPED = f"suspended-{ANSWER}-response"
log = logging.getLogger(__name__)


class Approval(RunInput):
    """What a person says to the model, in Prefect. who: a name, as it is to stand in the audit."""

    approve: bool
    who: Annotated[str, Field(min_length=1, max_length=100)]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """A validation that ended better, and the tenants that take part in it, whose rows are written; each has its
    profile once it is carried on.
    """

    validation: Validation
    reasons: Sequence[str]
    tenants: list[str]
    profiles: dict[str, Profile] = field(default_factory=dict)


@flow(name="promotion", flow_run_name="promotion", log_prints=False)
async def promotion(
    tenants: list[str] | None = None,
    asked: str | None = None,
    asked_tenant: str | None = None,
    as_of: datetime | None = None,
) -> list[dict[str, Any]]:
    """Carry every promotion on that is due; `asked`: the id of one for which this run waits for a person's answer.

    tenants: whose (default: all); what one that is not among them takes part in stays as it is; asked_tenant: whose
    person is asked, where `asked` is given (default: the first of them, else the tenant of the settings). A run that
    waits holds no process: it is suspended, and begun again by the answer. Raises ModelError at the end, naming what
    failed.
    """
    settings = read()
    now = as_of or SYSTEM.now()
    if now.tzinfo is None:
        raise SettingsError(f"no moment: {now}; give it with its zone")
    warehouse = Warehouse.from_settings(settings)
    try:
        if asked is not None:
            await _heard(asked_tenant or (tenants or [settings.tenant])[0], warehouse, asked, now)
        told, failed = await promote_due(tenants or await everybody(warehouse), warehouse, settings, now)
    finally:
        await warehouse.close()
    rows = [{"validation": name, "promoted": answer} for name, answer in told.items()]
    await acreate_table_artifact(rows, key="promotion", description=f"{len(rows)} promotions were due.")
    if failed:
        raise ModelError("; ".join(failed))
    return rows


async def promote_due(
    whose: Sequence[str], warehouse: Warehouse, settings: Settings, now: datetime
) -> tuple[dict[str, str], list[str]]:
    """Take each promotion of these tenants as far as it goes: validation -> "yes" or why not yet, and what failed."""
    told: dict[str, str] = {}
    failed: list[str] = []
    uri = settings.mlflow_tracking_uri or ""
    try:
        for line in await settle(whose, warehouse, uri, now) if uri else []:
            log.warning("%s", line)
    except ModelError as error:
        failed.append(f"what broke off is not settled: {error}")
    for due in await _due(whose, warehouse):
        name = due.validation.id
        rows = await _rows(due.tenants, warehouse, proposal(due.validation, (), now, ask=False).id)
        if len(rows) == len(due.tenants) and all(row.state in ENDS for row in rows.values()):
            continue
        try:
            told[name] = await _carried_on(due, warehouse, settings, now)
        except TonewatchError as error:
            told[name] = str(error)
            failed.append(f"{due.validation.family}: {error}")
    return told, failed


async def _due(whose: Sequence[str], warehouse: Warehouse) -> list[Due]:
    """Validations whose final answer is better and that have promoted nothing for one of these tenants, the oldest
    first, each with all of them that are in its plan: where it judges for one the others can refuse it no more.
    """
    found: dict[str, Due] = {}
    open_ = set()
    for tenant in whose:
        async with warehouse.as_tenant(tenant) as db:
            for each in await validations.listed(tenant, db):
                if validations.PROBATION in each.plan:
                    continue
                last = await validations.newest(tenant, db, each.id)
                if last is None or not last.final or last.answer != Answer.BETTER:
                    continue
                open_ |= {each.id} if each.promoted is None else set()
                if each.id not in found:
                    found[each.id] = Due(each, last.reasons, [one for one in whose if takes_part(each, one)])
    return sorted((found[name] for name in open_), key=lambda each: (each.validation.started, each.validation.id))


async def _carried_on(due: Due, warehouse: Warehouse, settings: Settings, now: datetime) -> str:
    """As far as it goes. Raises ModelError: MLflow is away, another promotion is under way, or a tenant that takes part
    is not asked, or its settings cannot be read.
    """
    of = due.validation
    await _nobody_left_out(due, warehouse)
    due = replace(due, profiles=await _profiles(due.tenants, warehouse))
    champion = await champion_of(settings.mlflow_tracking_uri or "", of.family)
    rows = await _answered(due, due.tenants, warehouse, now)
    how = await _over(due, rows, champion, warehouse, settings, now)
    if new := [tenant for tenant in due.tenants if tenant not in rows]:
        await _proposed(due, new, warehouse, settings, now, over=how is not None)
        rows |= await _answered(due, new, warehouse, now)
        how = how or _ending(of, rows, champion, now, retired=False)
    stages = {row.state for row in rows.values()}
    if how is not None:
        await _ended(due, rows, warehouse, settings, how, now)
        return f"no: {how[1]}"
    if stages & JUDGED:  # it judges: what the others have not said, or not allowed, holds nothing up any more
        late = {tenant: row for tenant, row in rows.items() if row.state in {Stage.WAITING, Stage.REJECTED}}
        await _ended(due, late, warehouse, settings, (Stage.SUPERSEDED, OTHERWISE), now)
    elif Stage.WAITING in stages:
        until = max(row.expires for row in rows.values() if row.expires is not None)
        return f"waits for an answer until {until:%Y-%m-%d %H:%M} UTC"
    return await _moved(due, rows, warehouse, settings, now)


async def _nobody_left_out(due: Due, warehouse: Warehouse) -> None:
    """Raises ModelError: a tenant of the plan, which has not left since, is not among those that are asked now."""
    there = [tenant for tenant in await everybody(warehouse) if takes_part(due.validation, tenant)]
    if missing := set(there) - set(due.tenants):
        raise ModelError(
            f"{due.validation.challenger} is judged for {len(missing)} more tenants, without whom it is not promoted: "
            "run it for all of them"
        )


async def _profiles(whose: Sequence[str], warehouse: Warehouse) -> dict[str, Profile]:
    found = {}
    for tenant in whose:
        try:
            async with warehouse.as_tenant(tenant) as db:
                found[tenant] = await tenants.profile(tenant, db)
        except SettingsError as error:  # whose words may hold an address: they stay out of Prefect
            log.warning("the settings of %s cannot be read: %s", tenant, error)
            raise ModelError(
                f"the settings of {tenant} cannot be read: nobody knows whether it wants to be asked"
            ) from error
    return found


async def _over(
    due: Due,
    rows: dict[str, Promotion],
    champion: str | None,
    warehouse: Warehouse,
    settings: Settings,
    now: datetime,
) -> tuple[Stage, str] | None:
    """As `_ending`, before anybody is asked anew. A challenger that is to go on is fetched: one that does not fit any
    more, e.g. since an upgrade, is refused. Raises ModelError, besides: MLflow is away.
    """
    of = due.validation
    retired = await retired_for(due.tenants, warehouse, of.family, of.challenger)
    how = _ending(of, rows, champion, now, retired=retired)
    if how is not None or champion == of.challenger:
        return how
    why = await asyncio.to_thread(unfit, settings.mlflow_tracking_uri or "", of.family, of.challenger)
    return (Stage.REFUSED, f"{UNFIT}: {why}") if why else None


def _ending(
    of: Validation, rows: dict[str, Promotion], champion: str | None, now: datetime, *, retired: bool
) -> tuple[Stage, str] | None:
    """How it ends without a move, and why, as everybody may read it; None: it goes on. What judges already is refused
    no more.

    retired: whether the challenger may score no more for one of the tenants. Raises ModelError: another run moves it.
    """
    stages = {row.state for row in rows.values()}
    if Stage.INTENDED in stages:
        raise ModelError(f"another run moves {of.family} {of.challenger} at this moment")
    if champion == of.challenger:
        return None if stages & JUDGED and not retired else (Stage.SUPERSEDED, RETIRED if retired else OTHERWISE)
    if stages & JUDGED:
        return Stage.SUPERSEDED, f"{champion} is champion now"
    no = next((code(row.told) for row in rows.values() if row.state in {Stage.REJECTED, Stage.REFUSED}), "")
    if no or retired or any(_expired(row, now) for row in rows.values()):
        return Stage.REFUSED, no or (RETIRED if retired else UNANSWERED)
    if champion != of.champion:
        why = f"it was held against {of.champion}, and {champion} is champion now; validate it anew"
        return Stage.SUPERSEDED, why
    return None


async def retired_for(whose: Sequence[str], warehouse: Warehouse, family: str, version: str) -> bool:
    """Whether the version may score no more for one of these tenants."""
    for tenant in whose:
        async with warehouse.as_tenant(tenant) as db:
            if model_version(family, version) in await lineage.retired(tenant, db):
                return True
    return False


async def _proposed(
    due: Due, new: Sequence[str], warehouse: Warehouse, settings: Settings, now: datetime, *, over: bool
) -> None:
    """Make the row of each of these tenants: what the replay gate holds is rejected, and nobody is asked about it.

    over: it ends anyway: no case is replayed for it, and nobody is asked either. Raises as `held_by_cases`.
    """
    worse = {} if over else await _worse(due, new, warehouse, settings, now)
    told = next((code(why) for why in worse.values()), "")
    for tenant in new:
        ask = due.profiles[tenant].approve_models and not worse and not over
        made = proposal(due.validation, due.reasons, now, ask=ask)
        channels = addressed(settings, due.profiles[tenant]).alert_channels
        async with warehouse.as_tenant(tenant) as db:
            await propose(tenant, db, made, channels)
            if worse:
                await promotions.change(tenant, db, made.id, Stage.REJECTED, now, worse.get(tenant, told))


async def _answered(due: Due, whose: Sequence[str], warehouse: Warehouse, now: datetime) -> dict[str, Promotion]:
    """The rows that these tenants have, with what was said in Prefect, where those that wait are asked."""
    name = proposal(due.validation, (), now, ask=False).id
    for tenant, row in (await _rows(whose, warehouse, name)).items():
        if row.state is Stage.WAITING:
            await _asked(tenant, warehouse, row, now)
    rows = await _rows(whose, warehouse, name)
    for row in rows.values():
        if row.state is not Stage.WAITING and row.flow_run:
            await _tell_prefect(row)
    return rows


async def _rows(whose: Sequence[str], warehouse: Warehouse, name: str) -> dict[str, Promotion]:
    found = {}
    for tenant in whose:
        async with warehouse.as_tenant(tenant) as db:
            held = await promotions.hold(tenant, db, name)
        if held is not None:
            found[tenant] = held
    return found


async def _worse(
    due: Due, whose: Sequence[str], warehouse: Warehouse, settings: Settings, now: datetime
) -> dict[str, str]:
    """Why it may not be promoted, by the tenant that has it so, or nothing: what a guard took back, and what makes a
    recorded incident worse.
    """
    of = due.validation
    for tenant in whose:
        async with warehouse.as_tenant(tenant) as db:
            before = promotions.taken_back(await promotions.listed(tenant, db), of.family, of.challenger)
        if before is not None:
            return {tenant: f"{AGAIN}: {before.told}"}
        champion = None if validations.SILENT in of.plan else of.champion
        held = await held_by_cases(tenant, settings, warehouse, of.family, champion, of.challenger, now)
        if held:
            return {tenant: f"{WORSE}: {', '.join(held)}"}
    return {}


async def _moved(due: Due, rows: dict[str, Promotion], warehouse: Warehouse, settings: Settings, now: datetime) -> str:
    of, uri = due.validation, settings.mlflow_tracking_uri or ""
    open_ = {tenant: row for tenant, row in rows.items() if row.state is Stage.APPROVED}
    if open_:
        await move(list(open_), warehouse, uri, next(iter(open_.values())), now, proven=False, watched=True)
    for tenant, row in rows.items():
        async with warehouse.as_tenant(tenant) as db:
            await validations.promoted(tenant, db, of.id, now)
            if row.expires is not None:
                channels = addressed(settings, due.profiles[tenant]).alert_channels
                lines = [row.told, f"it took the place of {of.champion}; a guard that breaks takes it back by itself"]
                await tell(tenant, db, row, "is champion", lines, channels, now)
    return "yes"


async def _ended(
    due: Due,
    rows: dict[str, Promotion],
    warehouse: Warehouse,
    settings: Settings,
    how: tuple[Stage, str],
    now: datetime,
) -> None:
    """End it for every tenant that takes part: a no of one is a no for all, since the model is one.

    What is refused waits no longer: another challenger has its turn. A row on probation is that flow's to end.
    Raises ModelError: then the next run ends it.
    """
    stage, why = how
    if stage is Stage.REFUSED:
        from ml import versions

        of, uri = due.validation, settings.mlflow_tracking_uri or ""
        verdict = f"better, and not promoted: {why}; promotion {proposal(of, (), now, ask=False).id}"
        await asyncio.to_thread(versions.dismiss, uri, of.family, of.challenger, verdict)
    for tenant, row in rows.items():
        if row.state is Stage.PROBATION:
            continue
        channels = addressed(settings, due.profiles[tenant]).alert_channels
        async with warehouse.as_tenant(tenant) as db:
            await end(tenant, db, row, stage, _own(row, stage, why), channels, now)
        if row.flow_run:
            await _tell_prefect(replace(row, state=stage))


def _own(row: Promotion, stage: Stage, why: str) -> str:
    """Why it has ended, in the row of a tenant: who has rejected it reads what was said there."""
    if row.state is not Stage.REJECTED:
        return why
    return row.told if stage is Stage.REFUSED else f"{why}; {row.told}"


def _expired(row: Promotion, now: datetime) -> bool:
    return row.state is Stage.WAITING and row.expires is not None and row.expires <= now


# The answer in Prefect


async def _heard(tenant: str, warehouse: Warehouse, asked: str, now: datetime) -> None:
    """Wait for a typed answer, in no process, and keep it; one that came too late changes nothing and is told."""
    async with warehouse.as_tenant(tenant) as db:
        row = await promotions.hold(tenant, db, asked)
        if row is not None:  # who began this run may have died right then, and a person may have begun it
            row = replace(row, flow_run=str(runtime.flow_run.id))
            await promotions.asked_of(tenant, db, asked, row.flow_run)
    if row is None or row.state is not Stage.WAITING or row.expires is None:
        get_run_logger().info("nothing waits for an answer any more: %s", row.state if row else "it is gone")
        return
    seconds = max(1, int((row.expires - now).total_seconds()))
    # Without a value for `who`: a field that has one is not checked.
    form = Approval.with_initial_data(description=_question(row), approve=False)
    await asuspend_flow_run(wait_for_input=form, timeout=seconds, key=ANSWER)
    await _asked(tenant, warehouse, row, now)


def _question(row: Promotion) -> str:
    return (
        f"**{row.family}**: version {row.version} is to take the place of {row.before}: "
        f"{row.reason}. Is it to be champion? Without an answer by {row.expires:%Y-%m-%d %H:%M} UTC it is not."
    )


async def _asked(tenant: str, warehouse: Warehouse, row: Promotion, now: datetime) -> None:
    """Have a run of Prefect ask: what was typed into it is kept, and another is begun where it can bring no answer."""
    if row.flow_run and not await _in_vain(tenant, warehouse, row):
        return
    if not _expired(row, now):
        await _ask_in_prefect(tenant, warehouse, row)


async def _in_vain(tenant: str, warehouse: Warehouse, row: Promotion) -> bool:
    """Whether the run that asks has ended, or was told what is no answer. An answer is kept, whenever it was typed: it
    lies in Prefect until it is in the row, where the run that was begun again with it has failed, too.
    """
    run = UUID(row.flow_run)
    try:
        async with get_client() as client:
            state = (await client.read_flow_run(run)).state  # first: it ends after it was answered
            typed = await client.filter_flow_run_input(run, TYPED, limit=1, exclude_keys=set())
    except ObjectNotFound:
        return True
    except Exception as error:  # noqa: BLE001 - whatever Prefect's client raises: the next run looks again
        log.warning("what was said in Prefect of %s %s is not known yet: %r", row.family, row.version, error)
        return False
    if typed:
        return not await _kept(tenant, warehouse, row, typed[0])
    return state is not None and state.is_final() and not state.is_cancelled()  # who cancels it wants no other


async def _kept(tenant: str, warehouse: Warehouse, row: Promotion, typed: FlowRunInput) -> bool:
    """Keep what was typed; False: it is no answer. Prefect took it in time, however late it is looked at."""
    assert row.expires is not None  # noqa: S101 - what waits has a time until when
    at = min(typed.created or row.asked, row.expires - timedelta.resolution)
    try:
        form = Approval(**typed.decoded_value)
        said = answers.Answer(row.id, form.approve, form.who, form.reason)
        await answers.answer(tenant, warehouse, said, at)
    except (ValidationError, SettingsError) as error:
        log.warning("what was typed in Prefect of %s %s is no answer: %s", row.family, row.version, error)
        return False
    except ActRefused as error:  # another way was quicker
        log.info("%s", error)
    return True


async def _ask_in_prefect(tenant: str, warehouse: Warehouse, row: Promotion) -> None:
    """Begin a run that waits for the tenant's answer and then carries on for all tenants, whose yes it is not; where
    one was begun before, another.

    Where Prefect does not take it, the next run tries again.
    """
    before = f"-{row.flow_run}" if row.flow_run else ""
    try:
        run = await arun_deployment(
            DEPLOYMENT,
            parameters={"asked": row.id, "asked_tenant": tenant},
            timeout=0,
            as_subflow=False,
            tags=[tenant, "approval"],
            idempotency_key=f"{tenant}-{row.id}{before}",
        )
    except Exception as error:  # noqa: BLE001 - whatever Prefect's client raises: link and command line ask as well
        log.warning("Prefect does not ask about %s %s yet: %r", row.family, row.version, error)
        return
    async with warehouse.as_tenant(tenant) as db:
        await promotions.asked_of(tenant, db, row.id, str(run.id))


async def _tell_prefect(row: Promotion) -> None:
    """End the run that still waits for an answer which was given elsewhere, and forget what was typed: it is in the row
    by now, which can be erased.
    """
    try:
        async with get_client() as client:
            run = await client.read_flow_run(row.flow_run)  # type: ignore[arg-type]
            if run.state is not None and (run.state.is_paused() or run.state.is_scheduled()):
                told = f"{row.state}: promotion {row.id}"
                await client.set_flow_run_state(run.id, Cancelled(message=told), force=True)
            for typed in await client.filter_flow_run_input(run.id, TYPED, limit=1, exclude_keys=set()):
                await client.delete_flow_run_input(run.id, typed.key)
    except Exception as error:  # noqa: BLE001 - whatever Prefect's client raises: it ends with its time-out as well
        log.warning("the run of Prefect that asks about %s %s is not ended yet: %r", row.family, row.version, error)
