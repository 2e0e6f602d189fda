"""`tonewatch tenants`: who is watched, and by which settings.

The sub-commands import what they need when they run, like those of console/cli.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands import Author, Json, StateDir, as_json_text, run, user

if TYPE_CHECKING:
    from warehouse.database import Warehouse

app = typer.Typer(
    name="tenants",
    help="Add tenants, list them, see and change by which settings each is watched; export or remove one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

#: As of `tonewatch cases compare`.
REFUSED = 1
Slug = Annotated[str, typer.Argument(help="The tenant's short name: 1 to 40 of a-z, 0-9 and -.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it stands in the audit and with the version.")]


@app.command()
def add(
    tenant: Slug,
    name: Annotated[str | None, typer.Option(help="For people; default: the short name.", show_default=False)] = None,
    profile: Annotated[str, typer.Option(help="How it is watched: a file in deployments/tenants.")] = "platform",
    reason: Why = "",
    author: Author = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Add a tenant. One that is there already is left as it is, and that is an error."""
    from console.tenancy import Tenancy

    added = run(
        state_dir,
        lambda warehouse: Tenancy(warehouse).add(tenant, name or tenant, profile, author or user(), reason),
    )
    print(as_json_text(added) if as_json else f"{added.slug} is there, watched by profile {added.profile}")


@app.command(name="list")
def list_(as_json: Json = False, state_dir: StateDir = None) -> None:
    """List all tenants: profile, version of the settings, when it came."""
    from console.tenancy import Tenancy

    found = run(state_dir, lambda warehouse: Tenancy(warehouse).all())
    if as_json:
        print(as_json_text(found))
        return
    for each in found:
        print(f"{each.slug:<24}{each.profile:<12}settings version {each.settings_version:<5}{each.name}")


@app.command()
def settings(
    tenant: Slug,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, e.g. guardrails.actions_per_day=5; VALUE is YAML.", show_default=False),
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option(help="KEY that is to be as the profile has it.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--from", help="YAML file in place of all own settings.", show_default=False),
    ] = None,
    revert: Annotated[
        int | None,
        typer.Option(help="Have this version hold again; 1: the profile's.", show_default=False),
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Show every version: who, when, why.")] = False,
    profile: Annotated[str | None, typer.Option(help="Watch by this profile from now on.", show_default=False)] = None,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Whatever the recorded cases say; needs --reason.")
    ] = False,
    reason: Why = "",
    author: Author = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Show by which settings a tenant is watched, or change them: checked first, and in force with the next tick.

    What can change what is found or done is held against the tenant's recorded cases (`tonewatch cases`): where one
    gets worse nothing is changed, and the exit status is 1, with the list. Each change is a version of its own with
    author and reason, and can be taken back; --revert asks no case.
    """
    from console.commands import connected_settings, say
    from console.tenancy import Change, Changed, Tenancy, recorded

    if history:
        _tell_history(run(state_dir, lambda warehouse: Tenancy(warehouse).history(tenant)), as_json)
        return
    change = Change(tuple(set_ or ()), tuple(unset or ()), file, revert, profile)
    if change.wanted:
        by, asked = (author or user(), reason), connected_settings(state_dir)

        async def make(warehouse: Warehouse) -> Changed:
            gate = recorded(asked, warehouse, say)
            return await Tenancy(warehouse).change(tenant, change, *by, gate=gate, unproven=unproven)

        told = run(state_dir, make)
        print(as_json_text(told) if as_json else "\n".join(told.lines()))
        if told.refused:
            raise typer.Exit(REFUSED)
        return
    shown = run(state_dir, lambda warehouse: Tenancy(warehouse).show(tenant))
    print(as_json_text(shown) if as_json else shown.text())


@app.command()
def export(
    tenant: Slug,
    to: Annotated[Path, typer.Option("--to", help="A new folder: a file per table, reports and cases, a manifest.")],
    reason: Why = "",
    author: Author = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Write out everything that is kept of a tenant, as JSON lines; only the hashes of its keys are left out."""
    from console.departure import Departure

    folders, by = _folders(state_dir), (author or user(), reason)
    exported = run(state_dir, lambda warehouse: Departure(warehouse, folders).export(tenant, to, *by, _say))
    count = len(exported.tables)
    print(as_json_text(exported) if as_json else f"{exported.rows:,} rows of {count} tables are in {exported.folder}")


@app.command()
def offboard(
    tenant: Slug,
    to: Annotated[Path, typer.Option("--to", help="A new folder for the export that is made first.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Why = "",
    author: Author = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Export a tenant, end its keys, and remove every row, report, case and picture of it. It cannot be taken back.

    Not while the watcher that runs here serves it.
    """
    from console.commands import connected_settings
    from console.departure import Departure
    from tonewatch.errors import ActRefused, SettingsError
    from warehouse.cache import Cache
    from warehouse.links import beside

    settings = connected_settings(state_dir)
    if settings.tenant == tenant:
        raise ActRefused(f"the watcher that runs serves {tenant}: start the stack with another TONEWATCH_TENANT first")
    if settings.admin_database_url is None or settings.database_url is None:
        raise SettingsError("set TONEWATCH_ADMIN_DATABASE_URL: the app's own role may not remove a tenant")
    if not yes and not typer.confirm(f"Remove everything of {tenant}, for good?", err=True):
        print("nothing was removed", file=sys.stderr)
        return
    admin = beside(settings.admin_database_url.get_secret_value(), settings.database_url.get_secret_value())
    folders, by = _folders(state_dir), (author or user(), reason)
    caches = (settings.champions_dir,)

    async def work(warehouse: Warehouse) -> dict[str, int]:
        cache = Cache(settings.redis_url.get_secret_value() if settings.redis_url else None)
        try:
            return await Departure(warehouse, folders, caches=caches).offboard(tenant, to, admin, cache, *by, _say)
        finally:
            await cache.close()

    removed = run(state_dir, work)
    print(as_json_text(removed) if as_json else f"{sum(removed.values()):,} rows removed; the export is in {to}")


def _folders(state_dir: Path | None) -> dict[str, Path]:
    """Where each tenant has a folder of its own."""
    from console.commands import settings_for

    settings = settings_for(state_dir)
    return {"reports": settings.state_dir / "reports", "cases": settings.cases_dir}


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _tell_history(versions: Any, as_json: bool) -> None:
    if as_json:
        print(as_json_text(versions))
        return
    for each in versions:
        why = each.reason or "(no reason given)"
        told = f"{each.who}: {why}" if each.who else why  # the first is nobody's change
        print(f"{each.version:>4}  {each.time:%Y-%m-%d %H:%M:%S} UTC  {told}")
        print(f"      {as_json_text(each.settings, indent=None)}")
