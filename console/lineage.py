"""`tonewatch lineage`: which models learned from whom, and what must score no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands import Author, Json, StateDir, as_json_text, own_tenant, run, user

if TYPE_CHECKING:
    from tasks.trace import Whose
    from warehouse.database import Warehouse

MODEL = typer.Argument(metavar="[MODEL]", help="A model, or one version: edge-isolation-forest/3.", show_default=False)


def lineage(
    model: Annotated[str | None, MODEL] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Which models learned from this tenant.", show_default=False)
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option("--subject", help="From one entity, pseudonym or session of the tenant.", show_default=False),
    ] = None,
    retire: Annotated[bool, typer.Option("--retire", help="Let them score no more, and train without them.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why they are retired; all tenants read it.")] = "",
    author: Author = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Show which tenants and rows a model learned from, or which models learned from a tenant or subject."""
    from tasks import trace
    from tonewatch.clock import SYSTEM
    from tonewatch.errors import SettingsError

    if model and (tenant or subject):
        raise SettingsError("name a model, or a tenant and subject, not both")
    if retire and not reason:
        raise SettingsError("--retire needs a --reason: it stands in every tenant's audit; name nobody in it")

    async def work(warehouse: Warehouse) -> tuple[list[Whose], list[str]]:
        if model:
            name, _, version = model.partition("/")
            found = await trace.of_model(warehouse, name, version)
        else:
            found = await trace.of_tenant(warehouse, tenant or own_tenant(), subject or "")
        traced = [each.traced for each in found]
        who = author or user()
        return found, await trace.retire(warehouse, traced, reason, SYSTEM.now(), who=who) if retire else []

    found, ended = run(state_dir, work)
    if as_json:
        print(as_json_text({"lineage": found, "retired": ended}))
        return
    print(told(found))
    if retire:
        print(f"retired: {', '.join(ended) or 'nothing that was not retired before'}")


def told(found: Sequence[Whose]) -> str:
    """A line for each version and tenant."""
    if not found:
        return "No model learned from that, as far as lineage goes back."
    lines = [f"{'model':<34}{'tenant':<20}{'telemetry':<34}{'entities':>9}  training sets"]
    for each in found:
        of = each.traced
        sets = ", ".join(f"{one['name']}/{one['version']}" for one in of.sets) or "-"
        span = f"{of.started:%Y-%m-%d %H:%M} to {of.ended:%m-%d %H:%M}"
        state = "  retired" if each.retired else ""
        lines.append(f"{of.name:<34}{each.tenant:<20}{span:<34}{len(of.entities):>9}  {sets}{state}")
    return "\n".join(lines)
