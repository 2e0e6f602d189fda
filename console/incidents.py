"""`tonewatch incidents`: what an operator sees of incidents and does with them.

The sub-commands import what they need when they run, like those of console/cli.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands import Author, Json, StateDir, Tenant, as_json_text, own_tenant, run, user

if TYPE_CHECKING:
    from warehouse.database import Warehouse


app = typer.Typer(
    name="incidents",
    help="List incidents, read their story, and say what you do about them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Incident = Annotated[str, typer.Argument(help="The incident's id, as `list` and every notice show it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the story.")]


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
    from console.casebook import listed
    from warehouse import overview
    from warehouse.pages import Page

    whose = tenant or own_tenant()
    states = overview.states_of(state or [])

    async def read(warehouse: Warehouse) -> list[overview.Glance]:
        async with warehouse.as_tenant(whose) as db:
            return await overview.newest(whose, db, Page(limit), states)

    found = run(state_dir, read)
    print(as_json_text(found) if as_json else listed(found))


@app.command()
def show(incident: Incident, tenant: Tenant = None, as_json: Json = False, state_dir: StateDir = None) -> None:
    """Show the whole story: findings, causes, actions with each guard's answer, verdict, notices, acts of people."""
    from console.casebook import told
    from warehouse.cases import read_case

    whose = tenant or own_tenant()
    case = run(state_dir, lambda warehouse: read_case(whose, warehouse, incident))
    print(as_json_text(case) if as_json else told(case))


def _act(kind: str, words: str) -> None:
    """A command that says something of an incident, under the name of the kind of act that it is."""

    @app.command(kind, help=words)
    def act(
        incident: Incident,
        reason: Reason = "",
        author: Author = None,
        tenant: Tenant = None,
        as_json: Json = False,
        state_dir: StateDir = None,
    ) -> None:
        _do(tenant, state_dir, kind, incident, author, reason, as_json)


_act("ack", "Say that you are at it: nobody further is called.")
_act(
    "approve", "Say yes to the proposed action. Good once and not for long (15 min); every other guard is asked again."
)
_act("veto", "Say no to an action that is proposed or about to begin.")


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
    _do(tenant, state_dir, "close", incident, author, reason, as_json, verdict, cause)


_act("real", "Say that it was real. The models learn from it; your last word counts.")
_act("false", "Say that it was a false alarm. The models learn from it; your last word counts.")
_act("not-the-cause", "Say that the cause it names is not the cause.")


@app.command()
def ask(
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 1,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Show which incident your word would help most with, and how to say it."""
    from console.labelling import asked
    from warehouse import questions

    whose = tenant or own_tenant()

    async def read(warehouse: Warehouse) -> list[questions.Question]:
        async with warehouse.as_tenant(whose) as db:
            return await questions.waiting(whose, db, limit)

    found = run(state_dir, read)
    print(as_json_text(found) if as_json else asked(found, whose if tenant else ""))


@app.command()
def authors(tenant: Tenant = None, as_json: Json = False, state_dir: StateDir = None) -> None:
    """Show how far each person's labels are believed, and whose are in quarantine and why."""
    from console.labelling import Believed, believed

    whose = tenant or own_tenant()
    found = run(state_dir, lambda warehouse: Believed.read(whose, warehouse))
    print(as_json_text(found) if as_json else believed(found))


def _do(
    tenant: str | None,
    state_dir: Path | None,
    kind: str,
    incident: str,
    author: str | None,
    reason: str,
    as_json: bool,
    verdict: str = "",
    cause: str | None = None,
) -> None:
    from tonewatch.clock import SYSTEM
    from tonewatch.records import ActKind
    from warehouse.acts import Wish, do

    wish = Wish(ActKind(kind), incident, author or user(), reason, verdict, cause)
    whose = tenant or own_tenant()
    done = run(state_dir, lambda warehouse: do(whose, warehouse, wish, SYSTEM.now()))
    print(as_json_text(done) if as_json else "\n".join(done.told))
