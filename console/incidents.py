"""`tonewatch incidents`: what an operator sees of incidents and does with them.

The sub-commands import what they need when they run, like those of console/cli.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tonewatch.records import ActKind
    from warehouse.database import Warehouse


app = typer.Typer(
    name="incidents",
    help="List incidents, read their story, and say what you do about them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Incident = Annotated[str, typer.Argument(help="The incident's id, as `list` and every notice show it.")]
Tenant = Annotated[
    str | None, typer.Option("--tenant", help="Default: the tenant of the settings.", show_default=False)
]
Author = Annotated[
    str | None, typer.Option("--as", help="Who says so. Default: the user of this machine.", show_default=False)
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the story.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="State folder; default: TONEWATCH_STATE_DIR.", show_default=False)
]


@app.command(name="list")
def list_(
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Of this state alone; may be given again.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """List incidents, the newest first: state, cause, verdict, listener-minutes lost."""
    from console.casebook import listed, states_of
    from warehouse import overview

    door = _door(tenant, state_dir)
    states = states_of(state or [])

    async def read(warehouse: Warehouse) -> list[overview.Glance]:
        async with warehouse.as_tenant(door.tenant) as db:
            return await overview.newest(door.tenant, db, states, limit)

    found = door.run(read)
    print(as_json_text(found) if as_json else listed(found))


@app.command()
def show(incident: Incident, tenant: Tenant = None, as_json: Json = False, state_dir: StateDir = None) -> None:
    """Show the whole story: findings, causes, actions with each guard's answer, verdict, notices, acts of people."""
    from console.casebook import read_case, told

    door = _door(tenant, state_dir)
    case = door.run(lambda warehouse: read_case(door.tenant, warehouse, incident))
    print(as_json_text(case) if as_json else told(case))


@app.command()
def ack(
    incident: Incident,
    reason: Reason = "",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Say that you are at it: nobody further is called."""
    from tonewatch.records import ActKind

    _do(_door(tenant, state_dir), ActKind.ACK, incident, author, reason, as_json)


@app.command()
def approve(
    incident: Incident,
    reason: Reason = "",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Say yes to the proposed action. Good once and not for long (15 min); every other guard is asked again."""
    from tonewatch.records import ActKind

    _do(_door(tenant, state_dir), ActKind.APPROVE, incident, author, reason, as_json)


@app.command()
def veto(
    incident: Incident,
    reason: Reason = "",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Say no to an action that is proposed or about to begin."""
    from tonewatch.records import ActKind

    _do(_door(tenant, state_dir), ActKind.VETO, incident, author, reason, as_json)


@app.command()
def close(
    incident: Incident,
    verdict: Annotated[str, typer.Option(help="What it was: real, false-alarm or planned.")],
    cause: Annotated[
        str | None,
        typer.Option(help="The true cause, e.g. component:packager:hang.", show_default=False),
    ] = None,
    reason: Reason = "",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Close what was handed over, and say what it was: training learns from that."""
    from tonewatch.records import ActKind

    _do(_door(tenant, state_dir), ActKind.CLOSE, incident, author, reason, as_json, verdict, cause)


def _do(
    door: _Door,
    kind: ActKind,
    incident: str,
    author: str | None,
    reason: str,
    as_json: bool,
    verdict: str = "",
    cause: str | None = None,
) -> None:
    from console.acts import Wish, do
    from tonewatch.clock import SYSTEM

    wish = Wish(kind, incident, author or user(), reason, verdict, cause)
    done = door.run(lambda warehouse: do(door.tenant, warehouse, wish, SYSTEM))
    print(as_json_text(done) if as_json else "\n".join(done.told))


@dataclass(frozen=True)
class _Door:
    """The warehouse of the running stack, as the app role, for one tenant."""

    tenant: str
    database_url: str = field(repr=False)

    def run(self, work: Any) -> Any:
        """Do `work(warehouse)` in an event loop of its own."""
        import asyncio

        from warehouse.database import Warehouse

        async def inside() -> Any:
            warehouse = Warehouse(self.database_url)
            try:
                return await work(warehouse)
            finally:
                await warehouse.close()

        return asyncio.run(inside())


def _door(tenant: str | None, state_dir: Path | None) -> _Door:
    """Raises NotUp: neither a stack runs nor do the settings name a database."""
    from console.stack.lifecycle import connected
    from tonewatch.errors import NotUp
    from tonewatch.settings import read

    settings = read()
    if state_dir is not None:
        settings = settings.model_copy(update={"state_dir": state_dir.absolute()})
    url = settings.database_url or connected(settings).database_url
    if url is None:
        raise NotUp("there is no warehouse to connect to; start one with `tonewatch up`")
    return _Door(tenant or settings.tenant, url.get_secret_value())


def user() -> str:
    """Who is at this machine. Raises ActRefused: it does not know."""
    import getpass

    from tonewatch.errors import ActRefused

    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ActRefused("this machine does not know who you are; say so: --as NAME") from error


def as_json_text(document: Any, indent: int | None = 1) -> str:
    """Records, times and all as JSON."""
    from warehouse.rows import document as written

    return json.dumps(json.loads(written(document)), indent=indent, ensure_ascii=False)
