"""`tonewatch features sets`: what models were taught with: named, hashed, and traced to rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.commands import Json, StateDir, Tenant, as_json_text, own_tenant, run

if TYPE_CHECKING:
    from warehouse.database import Warehouse
    from warehouse.training_sets import TrainingSet

app = typer.Typer(
    name="sets",
    help="List the training sets, or show one: its hash, its rows and whose they are.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(name="list")
def list_(tenant: Tenant = None, as_json: Json = False, state_dir: StateDir = None) -> None:
    """List every version of the tenant's training sets."""
    whose = tenant or own_tenant()

    async def work(warehouse: Warehouse) -> list[TrainingSet]:
        from warehouse import training_sets

        async with warehouse.as_tenant(whose) as db:
            return await training_sets.listed(whose, db)

    found = run(state_dir, work)
    if as_json:
        print(as_json_text(found))
        return
    for each in found:
        print(
            f"{each.name:<24}version {each.version}: {each.found} of {each.labels} rows of {len(each.entities)} "
            f"entities, {each.started:%Y-%m-%d %H:%M:%S}Z to {each.ended:%Y-%m-%d %H:%M:%S}Z  {each.hash[:12]}"
        )
    if not found:
        print(f"{whose} has no training sets yet: `tonewatch train` makes one for each family")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="SET", help="A set, as `list` shows it, e.g. training-edge.")],
    version: Annotated[int | None, typer.Option(help="Default: the newest.", show_default=False)] = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Show a training set. Exit status 1 when there is none."""
    from tonewatch.errors import FeatureError

    whose = tenant or own_tenant()

    async def work(warehouse: Warehouse) -> TrainingSet | None:
        from warehouse import training_sets

        async with warehouse.as_tenant(whose) as db:
            return await training_sets.get(whose, db, name, version)

    found = run(state_dir, work)
    if found is None:
        which = "" if version is None else f" in version {version}"
        raise FeatureError(f"{whose} has no training set {name!r}{which}; see `tonewatch features sets list`")
    print(as_json_text(found) if as_json else _text(found))


def _text(found: TrainingSet) -> str:
    lines = [
        f"{found.name} version {found.version}, made {found.made:%Y-%m-%d %H:%M:%S}Z",
        f"  hash {found.hash}; features as defined by {found.definition[:8]}",
        f"  {found.found} of {found.labels} windows, {found.started.isoformat()} to {found.ended.isoformat()}",
        *(
            f"  from {table}: " + ", ".join(f"{key} {value}" for key, value in rows.items())
            for table, rows in sorted(found.sources.items())
        ),
        *(f"  {entity}" for entity in found.entities),
    ]
    return "\n".join(lines)
