"""Promotion: a challenger that a validation has shown to be better becomes champion; the one place where an alias moves
by itself.

First the recorded incidents are asked whether any gets worse, then, where the tenant's profile wants it, a person; then
the alias moves. Where it stands is in rows: any run carries on from there, and Prefect being away holds nothing up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.deployments import arun_deployment
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.states import Cancelled

from flows.gate import held_by_cases
from ml.ab_plan import Answer
from tasks.promote import champion_of, move, settle
from tasks.propose import UNANSWERED, end, proposal, propose, tell
from tonewatch.clock import SYSTEM
from tonewatch.errors import ActRefused, ModelError, SettingsError, TonewatchError
from tonewatch.settings import Profile, Settings, addressed, read
from warehouse import answers, lineage, promotions, tenants, validations
from warehouse.calibrations import model_version
from warehouse.database import Warehouse
from warehouse.promotions import ENDS, Promotion, Stage
from warehouse.validations import Validation

DEPLOYMENT = "promotion/promotion"
OTHERWISE = "it was made champion otherwise"
RETIRED = "it is retired: it may not score any more"
#: Of rows of a validation whose challenger has become champion by them.
JUDGED = frozenset({Stage.PROBATION, Stage.KEPT, Stage.TAKEN_BACK})
log = logging.getLogger(__name__)


class Approval(RunInput):
    """What a person says to the model, in Prefect. who: a name, as it is to stand in the audit."""

    approve: bool
    who: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """A validation that ended better, and the tenants that take part in it, each with its profile."""

    validation: Validation
    reasons: Sequence[str]
    profiles: dict[str, Profile]

    @property
    def tenants(self) -> list[str]:
        """Whose rows are written."""
        return list(self.profiles)


@flow(name="promotion", flow_run_name="promotion", log_prints=False)
async def promotion(
    tenants: list[str] | None = None,
    asked: str | None = None,
    asked_tenant: str | None = None,
    as_of: datetime | None = None,
) -> list[dict[str, Any]]:
    """Carry every promotion on that is due; `asked`: the id of one for which this run waits for a person's answer.

    tenants: whose (default: the tenant of the settings), all that take part; asked_tenant: whose person is asked, where
    `asked` is given (default: the first of them). A run that waits holds no process: it is suspended, and begun
    again by the answer. Raises ModelError at the end, naming what failed.
    """
    settings = read()
    now = as_of or SYSTEM.now()
    if now.tzinfo is None:
        raise SettingsError(f"no moment: {now}; give it with its zone")
    whose = tenants or [settings.tenant]
    warehouse = Warehouse.from_settings(settings)
    try:
        if asked is not None:
            await _heard(asked_tenant or whose[0], warehouse, asked, now)
        told, failed = await promote_due(whose, warehouse, settings, now)
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
    first, each with all of them that take part: where it judges for one the others can refuse it no more.
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
                profile = await tenants.profile(tenant, db)
                open_ |= {each.id} if each.promoted is None else set()
                found.setdefault(each.id, Due(each, last.reasons, {})).profiles[tenant] = profile
    return sorted((found[name] for name in open_), key=lambda each: (each.validation.started, each.validation.id))


async def _carried_on(due: Due, warehouse: Warehouse, settings: Settings, now: datetime) -> str:
    """As far as it goes. Raises ModelError: MLflow is away, or another promotion is under way."""
    of = due.validation
    champion = await champion_of(settings.mlflow_tracking_uri or "", of.family)
    rows = await _proposed(due, warehouse, settings, now)
    stages = {row.state for row in rows.values()}
    if Stage.INTENDED in stages:
        raise ModelError(f"another run moves {of.family} {of.challenger} at this moment")
    how = _ending(of, rows, champion, now, retired=await _retired(due, warehouse))
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


def _ending(
    of: Validation, rows: dict[str, Promotion], champion: str | None, now: datetime, *, retired: bool
) -> tuple[Stage, str] | None:
    """How it ends without a move, and why; None: it goes on. What judges already is refused no more.

    retired: whether the challenger may score no more for one of the tenants.
    """
    stages = {row.state for row in rows.values()}
    if champion == of.challenger:
        return None if stages & JUDGED and not retired else (Stage.SUPERSEDED, RETIRED if retired else OTHERWISE)
    if stages & JUDGED:
        return Stage.SUPERSEDED, f"{champion} is champion now"
    no = next((row.told for row in rows.values() if row.state in {Stage.REJECTED, Stage.REFUSED}), "")
    if no or retired or any(_expired(row, now) for row in rows.values()):
        return Stage.REFUSED, no or (RETIRED if retired else UNANSWERED)
    if champion != of.champion:
        why = f"it was held against {of.champion}, and {champion} is champion now; validate it anew"
        return Stage.SUPERSEDED, why
    return None


async def _retired(due: Due, warehouse: Warehouse) -> bool:
    name = model_version(due.validation.family, due.validation.challenger)
    for tenant in due.tenants:
        async with warehouse.as_tenant(tenant) as db:
            if name in await lineage.retired(tenant, db):
                return True
    return False


async def _proposed(due: Due, warehouse: Warehouse, settings: Settings, now: datetime) -> dict[str, Promotion]:
    """Each tenant's row, made where it is new: what the replay gate holds, nobody is asked about."""
    name = proposal(due.validation, due.reasons, now, ask=False).id
    rows = await _rows(due.tenants, warehouse, name)
    new = [tenant for tenant in due.tenants if tenant not in rows]
    worse = await _worse(due, new, warehouse, settings, now)
    for tenant in new:
        made = proposal(due.validation, due.reasons, now, ask=due.profiles[tenant].approve_models and not worse)
        channels = addressed(settings, due.profiles[tenant]).alert_channels
        async with warehouse.as_tenant(tenant) as db:
            await propose(tenant, db, made, channels)
            if worse:
                await end(tenant, db, made, Stage.REFUSED, worse, channels, now)
    rows = await _rows(due.tenants, warehouse, name)
    for tenant, row in rows.items():
        if row.state is Stage.WAITING and not row.flow_run and not _expired(row, now):
            await _ask_in_prefect(tenant, due.tenants, warehouse, row)
        elif row.state is not Stage.WAITING and row.flow_run:
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


async def _worse(due: Due, whose: Sequence[str], warehouse: Warehouse, settings: Settings, now: datetime) -> str:
    """Why it may not be promoted, or empty: what a guard took back, and what makes a recorded incident worse."""
    of = due.validation
    for tenant in whose:
        async with warehouse.as_tenant(tenant) as db:
            before = promotions.taken_back(await promotions.listed(tenant, db), of.family, of.challenger)
        if before is not None:
            return f"it was champion before and was taken back: {before.told}"
        champion = None if validations.SILENT in of.plan else of.champion
        held = await held_by_cases(tenant, settings, warehouse, of.family, champion, of.challenger, now)
        if held:
            return f"recorded incidents get worse: {', '.join(held)}"
    return ""


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
        await asyncio.to_thread(versions.dismiss, uri, of.family, of.challenger, f"better, and not promoted: {why}")
    for tenant, row in rows.items():
        if row.state is Stage.PROBATION:
            continue
        channels = addressed(settings, due.profiles[tenant]).alert_channels
        async with warehouse.as_tenant(tenant) as db:
            await end(tenant, db, row, *how, channels, now)
        if row.flow_run:
            await _tell_prefect(row)


def _expired(row: Promotion, now: datetime) -> bool:
    return row.state is Stage.WAITING and row.expires is not None and row.expires <= now


# The answer in Prefect


async def _heard(tenant: str, warehouse: Warehouse, asked: str, now: datetime) -> None:
    """Wait for a typed answer, in no process, and keep it; one that came too late changes nothing and is told."""
    async with warehouse.as_tenant(tenant) as db:
        row = await promotions.hold(tenant, db, asked)
    if row is None or row.state is not Stage.WAITING or row.expires is None:
        get_run_logger().info("nothing waits for an answer any more: %s", row.told if row else asked)
        return
    seconds = max(1, int((row.expires - now).total_seconds()))
    said = await asuspend_flow_run(
        wait_for_input=Approval.with_initial_data(description=_question(row), approve=False, who=""),
        timeout=seconds,
        key="answer",
    )
    assert said is not None  # noqa: S101 - tells mypy: a run is begun again with its input alone
    try:
        told = await answers.answer(tenant, warehouse, answers.Answer(asked, said.approve, said.who, said.reason), now)
        get_run_logger().info("%s", told.told)
    except (ActRefused, SettingsError) as error:
        get_run_logger().warning("%s", error)


def _question(row: Promotion) -> str:
    return (
        f"**{row.family}**: version {row.version} is to take the place of {row.before}: "
        f"{row.reason}. Is it to be champion? Without an answer by {row.expires:%Y-%m-%d %H:%M} UTC it is not."
    )


async def _ask_in_prefect(tenant: str, whose: Sequence[str], warehouse: Warehouse, row: Promotion) -> None:
    """Begin a run that waits for the tenant's answer and then carries on for all that take part, whose yes it is not.

    Where Prefect does not take it, the next run tries again."""
    try:
        run = await arun_deployment(
            DEPLOYMENT,
            parameters={"tenants": list(whose), "asked": row.id, "asked_tenant": tenant},
            timeout=0,
            as_subflow=False,
            tags=[tenant, "approval"],
            idempotency_key=f"{tenant}-{row.id}",
        )
    except Exception as error:  # noqa: BLE001 - whatever Prefect's client raises: link and command line ask as well
        log.warning("Prefect does not ask about %s %s yet: %r", row.family, row.version, error)
        return
    async with warehouse.as_tenant(tenant) as db:
        await promotions.asked_of(tenant, db, row.id, str(run.id))


async def _tell_prefect(row: Promotion) -> None:
    """End the run that still waits for an answer which was given elsewhere, and say in it what it was."""
    try:
        async with get_client() as client:
            run = await client.read_flow_run(row.flow_run)  # type: ignore[arg-type]
            if run.state is not None and (run.state.is_paused() or run.state.is_scheduled()):
                await client.set_flow_run_state(run.id, Cancelled(message=row.told or str(row.state)), force=True)
    except Exception as error:  # noqa: BLE001 - whatever Prefect's client raises: it ends with its time-out as well
        log.warning("the run of Prefect that asks about %s %s is not ended yet: %r", row.family, row.version, error)
