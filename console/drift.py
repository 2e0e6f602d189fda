"""`tonewatch drift`: whether features, scores and verdicts are still what they were, and what a person says to it.

The sub-commands import what they need when they run, like those of console/cli.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands import Author, Json, StateDir, Tenant, as_json_text, own_tenant, run, user

if TYPE_CHECKING:
    from datetime import datetime

    from warehouse.database import Connection, Warehouse
    from warehouse.drift import DriftCheck

app = typer.Typer(
    name="drift",
    help="List the views with how they stand, show one, say that it is normal now, or ask for a retraining.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_VIEW = Annotated[str, typer.Argument(metavar="VIEW", help="A view, as `list` shows it, e.g. edge.")]
_REASON = Annotated[str, typer.Option("--reason", help="Why; it stands in the audit.", show_default=False)]


@app.command(name="list")
def list_(tenant: Tenant = None, as_json: Json = False, state_dir: StateDir = None) -> None:
    """List the last check of each view. Exit status 1 when one drifts."""
    whose = tenant or own_tenant()

    async def work(warehouse: Warehouse) -> list[DriftCheck]:
        from warehouse import drift

        async with warehouse.as_tenant(whose) as db:
            return await drift.newest(whose, db)

    found = run(state_dir, work)
    if as_json:
        print(as_json_text(found))
    elif not found:
        print(f"{whose} was never checked for drift: the flow `drift` does so every six hours")
    else:
        for each in found:
            print(f"{each.view:<12}{each.verdict:<10}until {each.window_end:%Y-%m-%d %H:%M}Z  {each.told}")
    if any(each.verdict == "drift" for each in found):
        raise typer.Exit(1)


@app.command()
def show(view: _VIEW, tenant: Tenant = None, as_json: Json = False, state_dir: StateDir = None) -> None:
    """Show what the last check of a view said of each feature, and which retrainings were asked for.

    Exit status 1 when it drifts.
    """
    whose = tenant or own_tenant()
    found = run(state_dir, lambda warehouse: _shown(warehouse, whose, view))
    print(as_json_text(found) if as_json else _shown_text(found))
    if found["check"].verdict == "drift":
        raise typer.Exit(1)


@app.command()
def accept(
    view: _VIEW, reason: _REASON, author: Author = None, tenant: Tenant = None, state_dir: StateDir = None
) -> None:
    """Say that what a view shows from now on is normal: the next week becomes its reference."""
    whose, who = tenant or own_tenant(), author or user()

    async def work(db: Connection, now: datetime) -> None:
        from tasks.drift import accept as say

        await say(whose, db, view, who, reason, now)

    _say(whose, view, state_dir, work)
    print(f"{view} is normal as it is from now on; it is judged again when a week of it is there")


@app.command()
def retrain(
    view: _VIEW, reason: _REASON, author: Author = None, tenant: Tenant = None, state_dir: StateDir = None
) -> None:
    """Ask for a retraining, whatever rests; the next round of the flow `drift` hands it to Prefect."""
    whose, who = tenant or own_tenant(), author or user()

    async def work(db: Connection, now: datetime) -> None:
        from tasks.drift import ask
        from warehouse.drift import RetrainingRequest

        await ask(whose, db, RetrainingRequest(view, now, 86_400.0, who, reason, why="hand"))

    _say(whose, view, state_dir, work)
    print(f"a retraining of {view} is asked for; the next round of the flow `drift` hands it to Prefect")


def _say(tenant: str, view: str, state_dir: Any, words: Any) -> None:
    """Keep a person's word on a view that was checked. Raises FeatureError: it never was."""

    async def work(warehouse: Warehouse) -> None:
        from tonewatch.clock import SYSTEM

        async with warehouse.as_tenant(tenant) as db:
            await _last(tenant, db, view)
            await words(db, SYSTEM.now())

    run(state_dir, work)


async def _last(tenant: str, db: Connection, view: str) -> DriftCheck:
    from tonewatch.errors import FeatureError
    from warehouse import drift

    found = await drift.last(tenant, db, view)
    if found:
        return found[0]
    known = ", ".join(each.view for each in await drift.newest(tenant, db)) or "none yet"
    raise FeatureError(f"{tenant} has no check of {view!r}; checked are: {known}")


async def _shown(warehouse: Warehouse, tenant: str, view: str) -> dict[str, Any]:
    from warehouse import drift

    async with warehouse.as_tenant(tenant) as db:
        last = await _last(tenant, db, view)
        return {
            "tenant": tenant,
            "check": last,
            "since": await drift.since(tenant, db, view),
            "results": await drift.results(tenant, db, last),
            "requests": await drift.requests(tenant, db, view),
        }


def _shown_text(found: dict[str, Any]) -> str:
    check = found["check"]
    lines = [
        f"{check.view}: {check.verdict}, {check.told}",
        f"  {check.window_start:%Y-%m-%d %H:%M}Z to {check.window_end:%Y-%m-%d %H:%M}Z, compared with what lies before "
        f"since {check.reference_start:%Y-%m-%d %H:%M}Z",
    ]
    if found["since"]:
        lines.append(f"  it drifts since the window until {found['since']:%Y-%m-%d %H:%M}Z")
    if check.report:
        lines.append(f"  pictures: MLflow run {check.report}")
    for each in found["results"]:
        figures = "" if each.effect is None else f"effect {each.effect:+.2f}"
        chance = "" if each.q is None else f", q {each.q:.2g}"
        what = f"{each.subject:<7}{each.feature:<28}{each.aspect:<8}"
        lines.append(f"  {each.verdict:<9}{what}{figures}{chance} {each.told}".rstrip())
    for each in found["requests"]:
        taken = (
            f"Prefect run {each.flow_run}"
            if each.delivered
            else f"dropped, {each.dropped}"
            if each.dropped
            else "it waits"
        )
        lines.append(f"  retraining asked for {each.asked:%Y-%m-%d %H:%M}Z by {each.who}, {taken}: {each.reason}")
    return "\n".join(lines)
