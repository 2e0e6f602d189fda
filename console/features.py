"""`tonewatch features`: what the models see: views, what is kept of them, and making what is new.

The sub-commands import what they need when they run, like those of console/cli.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands import Json, StateDir, Tenant, as_json_text, connected_settings, own_tenant, run
from console.feature_sets import app as sets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_store.views import View
    from warehouse.database import Warehouse
    from warehouse.quality import DataBreach, Quality

app = typer.Typer(
    name="features",
    help="List the views of features, show one with what is kept of it, how its contract holds; make what is new.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.add_typer(sets)

_KIND = Annotated[str, typer.Argument(metavar="VIEW", help="A view, as `list` shows it, e.g. edge.")]


@app.command(name="list")
def list_(
    profile: Annotated[str, typer.Option(help="With windows as this profile has them.")] = "platform",
    as_json: Json = False,
) -> None:
    """List the views: features, window, time-to-live, owner, version. Needs no running stack."""
    from feature_store.views import views
    from tonewatch.settings import load_profile

    found = views(load_profile(profile))
    if as_json:
        print(as_json_text([_described(each) for each in found]))
        return
    for each in found:
        print(
            f"{each.name:<12}{len(each.features)} features of {each.entity}:  window {each.seconds:g} s, "
            f"joined for {each.ttl.total_seconds():g} s  {each.owner:<14}version {each.version} ({each.definition[:8]})"
        )


@app.command()
def show(name: _KIND, tenant: Tenant = None, as_json: Json = False, state_dir: StateDir = None) -> None:
    """Show a view: each feature with unit and promised range, what the tenant has of it, and what breaks the contract.

    Exit status 1 when fresh rows break it.
    """
    whose = tenant or own_tenant()
    found = run(state_dir, lambda warehouse: _shown(warehouse, whose, name))
    print(as_json_text(found) if as_json else _shown_text(found))
    if found["broken"]:
        raise typer.Exit(1)


@app.command()
def materialize(
    name: Annotated[
        list[str] | None, typer.Option("--view", help="This view alone; may be repeated. Default: all.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"],
            help="Go through all from then on, with its zone: 2026-11-26T12:00Z. Samples older than 47 hours are left.",
            show_default=False,
        ),
    ] = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Make what is new, and what late samples have changed. Doing it again changes nothing."""
    from feature_store.views import views
    from tonewatch.clock import SYSTEM
    from tonewatch.settings import load_profile

    whose, names = tenant or own_tenant(), tuple(dict.fromkeys(name or ()))
    redis = connected_settings(state_dir).redis_url
    address = redis.get_secret_value() if redis else None

    async def work(warehouse: Warehouse) -> Any:
        from tasks.materialize import materialize as make
        from warehouse.cache import Cache

        cache = Cache(address)
        try:
            return await make(whose, warehouse, cache, SYSTEM, names=names, since=since)
        finally:
            await cache.close()

    done = run(state_dir, work)
    if as_json:
        print(as_json_text(done))
        return
    if not done:
        known = ", ".join(names) or ", ".join(each.name for each in views(load_profile("platform")))
        print(f"{whose} has no entity of {known}: nothing to make")
    for each in done:
        print(
            f"{each.view:<12}{each.rows} rows of {each.windows} windows of {each.entities} entities, "
            f"until {each.until:%Y-%m-%d %H:%M:%S}Z; {each.cached} in the cache"
        )
        for breach in each.broken:
            print(f"    contract, {breach.clause}: {breach.feature} {breach.told}".rstrip())


@app.command()
def quality(
    name: Annotated[str | None, typer.Argument(metavar="[VIEW]", help="This view alone. Default: all.")] = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Show how the last check of each view's contract went, clause by clause, and since when something is broken.

    Exit status 1 when a clause does not hold.
    """
    whose = tenant or own_tenant()

    async def work(warehouse: Warehouse) -> tuple[list[Quality], list[DataBreach]]:
        from warehouse import quality as kept

        async with warehouse.as_tenant(whose) as db:
            return await kept.newest(whose, db, name), await kept.lasting(whose, db, name)

    found, lasting = run(state_dir, work)
    if as_json:
        print(as_json_text({"tenant": whose, "clauses": found, "breaches": lasting}))
    elif not found:
        print(f"{whose} has no check of {name or 'any view'}: the flow `data-quality` makes them every hour")
    else:
        print("\n".join(_quality_text(found, lasting)))
    if any(not each.held for each in found):
        raise typer.Exit(1)


def _quality_text(found: list[Quality], lasting: list[DataBreach]) -> Iterator[str]:
    since = {each.key: each for each in lasting}
    for view in dict.fromkeys(each.view for each in found):
        mine = [each for each in found if each.view == view]
        broken = [each for each in mine if not each.held]
        yield (
            f"{view:<12}{len(mine) - len(broken)} of {len(mine)} clauses hold, by {mine[0].judge}, of {mine[0].rows} "
            f"rows at {mine[0].checked:%Y-%m-%d %H:%M}Z"
        )
        for each in broken:
            lasts = since.get((each.view, each.clause, each.feature))
            told = f", since {lasts.since:%Y-%m-%d %H:%M}Z, told to {lasts.owner}" if lasts else ""
            yield f"    {each.clause} {each.feature}".rstrip() + f": {each.told}{told}"


def _described(view: View) -> dict[str, Any]:
    from feature_store.contracts import contract

    features = [
        {
            "name": feature.name,
            "unit": feature.unit,
            "reading": feature.reading,
            "metrics": feature.metrics,
            "per": feature.per,
            "version": feature.version,
            "low": promise.low,
            "high": promise.high,
            "filled": promise.filled,
        }
        for feature, promise in zip(view.features, contract(view).promises, strict=True)
    ]
    return {
        "name": view.name,
        "entity": view.entity,
        "event_time": "end of the window",
        "window_seconds": view.seconds,
        "every_seconds": view.every,
        "ttl_seconds": view.ttl.total_seconds(),
        "fresh_seconds": view.fresh.total_seconds(),
        "owner": view.owner,
        "version": view.version,
        "definition": view.definition,
        "features": features,
    }


async def _shown(warehouse: Warehouse, tenant: str, name: str) -> dict[str, Any]:
    from feature_store import offline
    from feature_store.contracts import breaches, contract
    from feature_store.views import view
    from tonewatch.clock import SYSTEM
    from warehouse import features, tenants

    now = SYSTEM.now()
    async with warehouse.as_tenant(tenant) as db:
        asked = view(name, await tenants.profile(tenant, db))
        kept = await features.views(tenant, db, name)
        held = [{"definition": each.definition, "window_seconds": each.window_seconds} for each in kept]
        spans = [await features.span(tenant, db, each.id) for each in kept]
        mine = next((each for each in kept if each.id == asked.id), None)
        broken = []
        if mine is not None:
            values, times = await offline.rows(tenant, db, asked, now - asked.fresh, now)
            broken = breaches(contract(asked), mine.features, mine.units, values, times, now)
    told = [
        each | {"current": stored.id == asked.id, "span": span}
        for each, stored, span in zip(held, kept, spans, strict=True)
    ]
    return _described(asked) | {"tenant": tenant, "kept": told, "broken": broken}


def _shown_text(found: dict[str, Any]) -> str:
    lines = [
        f"{found['name']}: entities of {found['entity']}, owner {found['owner']}, version {found['version']} "
        f"({found['definition'][:8]})",
        f"  event time: {found['event_time']}; window {found['window_seconds']:g} s; joined for "
        f"{found['ttl_seconds']:g} s, served for {found['fresh_seconds']:g} s",
    ]
    for each in found["features"]:
        filled = f", in {each['filled']:.0%} of the windows" if each["filled"] else ""
        lines.append(
            f"  {each['name']:<28}{each['reading']:<7}{each['low']:g} to {each['high']:g} {each['unit']}{filled}"
        )
    some = [each for each in found["kept"] if each["span"].rows]
    for each in some:
        span, other = each["span"], "" if each["current"] else f" of another definition ({each['definition'][:8]})"
        lines.append(f"  {found['tenant']} has {span.rows} rows{other} of {span.entities} entities, until {span.last}")
    if not some:
        lines.append(f"  {found['tenant']} has no rows of it: `tonewatch features materialize` makes them")
    lines += [f"  contract, {each.clause}: {each.feature} {each.told}" for each in found["broken"]]
    return "\n".join(lines)
