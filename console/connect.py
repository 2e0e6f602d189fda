"""`tonewatch connect`: points Tonewatch at what a user has, and shows what it would have told him.

The sub-commands import what they need when they run, like those of console/cli.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from console.commands import Author, Json, StateDir, Tenant, as_json_text, own_tenant, run, user

if TYPE_CHECKING:
    from console.tenancy import Change
    from policy.advice import Advice
    from warehouse.database import Warehouse

app = typer.Typer(
    name="connect",
    help="Point Tonewatch at what you have. Nothing is written before you say yes, and nothing acts by itself.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


Yes = Annotated[bool, typer.Option("--yes", help="Write the settings without asking.")]
Look = Annotated[bool, typer.Option("--look", help="Only look: write nothing, and need no stack.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands with the settings.")]


@app.command()
def prometheus(
    url: Annotated[str, typer.Argument(help="Its address, e.g. http://prometheus.example:9090; may hold user:pass@.")],
    days: Annotated[float, typer.Option(min=0, max=90, help="How far back the backtest looks.")] = 14.0,
    yes: Yes = False,
    look: Look = False,
    credentials: Annotated[
        bool, typer.Option("--credentials", help="Send TONEWATCH_PROMETHEUS_CREDENTIALS to this address.")
    ] = False,
    say: Annotated[
        list[str] | None,
        typer.Option(
            "--say",
            help="INCIDENT=VERDICT, by number or name; real, false-alarm or planned; kept as a label. May be repeated.",
            metavar="WHAT",
        ),
    ] = None,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Write the settings that what you say comes to, without asking.")
    ] = False,
    reason: Reason = "connected",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Read a Prometheus: show what it has, backtest the last days, then write it into the tenant's settings.

    What you say of the backtest's incidents (`--say 1=real`, or at the prompt) is kept as labels; the settings that it
    comes to are shown, and written after a yes or with --adapt. Exit status 1 when it cannot be read.
    """
    from console import connection, hindsight
    from console.tenancy import Tenancy
    from tonewatch.errors import SettingsError

    whose = tenant or own_tenant()
    # Without a stack the profile of the settings is all there is to go by.
    profile = None if look else run(state_dir, lambda warehouse: Tenancy(warehouse).profile(whose))
    found = connection.look_at(
        url,
        whose,
        days,
        lambda text: print(f"  {text}", file=sys.stderr, flush=True),
        profile=profile,
        with_credentials=credentials,
    )
    wanted = _Wanted(look, yes, reason, author, whose, as_json, state_dir)
    if say and look:
        raise SettingsError("--look writes nothing: what you say of an incident needs the stack")
    verdicts = hindsight.said(say or (), found.incidents)
    _settle("Prometheus", found, lambda: connection.change_for(url), wanted)
    if not (look or yes or as_json or say) and sys.stdin.isatty():
        verdicts = hindsight.asked(found.incidents, lambda text: typer.prompt(text, default="", show_default=False))
    if verdicts:
        who = author or user()
        kept = run(
            state_dir, lambda warehouse: hindsight.keep(whose, warehouse, found.incidents, verdicts, who, reason)
        )
        print(f"{kept} of {len(verdicts)} labels kept", file=sys.stderr)
        _adapt(hindsight.advised(found.incidents, verdicts, found.profile, found.every_s), replace(wanted, yes=adapt))


def _adapt(advised: Sequence[Advice], wanted: _Wanted) -> None:
    """Tell what the verdicts call for and, after a yes, write it."""
    from console.hindsight import change_of

    if not advised:
        return
    print("What you said of the past comes to:", file=sys.stderr)
    for each in advised:
        told = "stays as it is" if each.value is None else f"-> {each.value!r}"
        print(f"  {each.key} {told}: {each.why}", file=sys.stderr)
    change = change_of(advised)
    if not change.wanted:
        return
    if not wanted.yes and not sys.stdin.isatty():
        print("it was not written: nobody can be asked; add --adapt to write it", file=sys.stderr)
        return
    reason = "; ".join(each.why for each in advised if each.value is not None)
    _write(lambda: change, f"Write this into the settings of {wanted.tenant}?", reason, wanted)


Listen = Annotated[float, typer.Option("--listen", min=1, max=20, help="Seconds that each stream is listened to.")]
Silence = Annotated[float, typer.Option("--silence", min=1, max=3600, help="Seconds of silence that you are told of.")]


@app.command()
def icecast(
    url: Annotated[str, typer.Argument(help="Its address, e.g. http://radio.example:8000.")],
    mount: Annotated[
        list[str] | None, typer.Option("--mount", help="Only this mount, e.g. /live.mp3; may be repeated.")
    ] = None,
    listen: Listen = 5.0,
    silence: Silence = 10.0,
    yes: Yes = False,
    look: Look = False,
    reason: Reason = "connected",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Read an Icecast: show its mounts, listen to them, then write them into the tenant's settings.

    Exit status 1 when it cannot be read.
    """
    from console.audition import hear_icecast

    found = hear_icecast(url, listen, silence, mount or ())
    wanted = _Wanted(look, yes, reason, author, tenant or own_tenant(), as_json, state_dir)
    _settle("Icecast", found, found.change, wanted)


@app.command()
def hls(
    url: Annotated[str, typer.Argument(help="Its playlist, e.g. https://radio.example/live/master.m3u8.")],
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="A further host that its playlists may point at; may be repeated."),
    ] = None,
    listen: Listen = 5.0,
    silence: Silence = 10.0,
    yes: Yes = False,
    look: Look = False,
    reason: Reason = "connected",
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Read an HLS station: show its renditions, listen to them, then write them into the tenant's settings.

    Exit status 1 when it cannot be read.
    """
    from console.audition import hear_hls

    found = hear_hls(url, listen, silence, host or ())
    wanted = _Wanted(look, yes, reason, author, tenant or own_tenant(), as_json, state_dir)
    _settle("HLS station", found, found.change, wanted)


class _Found(Protocol):
    """What was found at an address."""

    def text(self) -> str:
        """For people."""

    def document(self) -> dict[str, Any]:
        """For scripts."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the command line asked for."""

    look: bool
    yes: bool
    reason: str
    author: str | None
    tenant: str
    as_json: bool
    state_dir: Path | None


def _settle(what: str, found: _Found, change: Callable[[], Change], wanted: _Wanted) -> None:
    """Show what was found and, after a yes, write it."""
    print(as_json_text(found.document()) if wanted.as_json else found.text())
    if not wanted.look:
        _write(change, f"Write this {what} into the settings of {wanted.tenant}?", wanted.reason, wanted)


def _write(change: Callable[[], Change], question: str, reason: str, wanted: _Wanted) -> None:
    """Write the change into the tenant's settings, after a yes. Raises Exit(1) where nobody answers."""
    try:
        agreed = wanted.yes or typer.confirm(question, err=True)
    except typer.Abort:
        print("\nnothing was written: nobody answered; add --yes to write it without asking", file=sys.stderr)
        raise typer.Exit(1) from None
    if not agreed:
        print("nothing was written", file=sys.stderr)
        return
    from console.commands import connected_settings, say
    from console.tenancy import Changed, Tenancy, recorded

    who, settings = wanted.author or user(), connected_settings(wanted.state_dir)

    async def make(warehouse: Warehouse) -> Changed:
        gate = recorded(settings, warehouse, say)
        return await Tenancy(warehouse).change(wanted.tenant, change(), who, reason, gate=gate)

    written = run(wanted.state_dir, make)
    print("\n".join(written.lines()), file=sys.stderr)
    if written.refused:
        raise typer.Exit(1)
    _tell_remarks(wanted.tenant, wanted.state_dir)


def _tell_remarks(tenant: str, state_dir: Path | None) -> None:
    """Say what keeps people from being told of what will be found."""
    from console.commands import connected_settings
    from console.standing import remarks_on

    settings = connected_settings(state_dir)
    for remark in run(state_dir, lambda warehouse: remarks_on(tenant, settings, warehouse)):
        print(f"note: {remark}", file=sys.stderr)


@app.command()
def alertmanager(
    url: Annotated[
        str, typer.Argument(help="Its address, e.g. http://alertmanager.example:9093; may hold user:pass@.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Make the key without asking.")] = False,
    look: Annotated[bool, typer.Option("--look", help="Only look: make no key, and need no stack.")] = False,
    author: Author = None,
    tenant: Tenant = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Look at an Alertmanager: what fires now, which entities that would be, and the receiver to paste into it.

    It pushes, so nothing is written into the settings; after a yes a key of scope alerts is made, and stands in the
    receiver this once. Exit status 1 when it cannot be read.
    """
    from console import alerting
    from console.commands import connected_settings, settings_for
    from console.keyring import Keyring
    from console.tenancy import Tenancy
    from tonewatch.settings import load_profile

    whose = tenant or own_tenant()
    settings = settings_for(state_dir) if look else connected_settings(state_dir)
    if look:
        profile = load_profile(settings.profile)
    else:
        profile = run(state_dir, lambda warehouse: Tenancy(warehouse).profile(whose))
    found = alerting.look_at(url, profile, alerting.gateway_of(settings))
    print(as_json_text(found.document()) if as_json else found.text())
    key = alerting.NO_KEY
    if not look and (yes or typer.confirm(f"Make a key of {whose} for it?", err=True)):
        by = author or user()
        made = run(state_dir, lambda warehouse: Keyring(warehouse).add(whose, "alertmanager", ("alerts",), None, by))
        key = made.plain
        _tell_remarks(whose, state_dir)
    if not as_json or key != alerting.NO_KEY:
        print(found.told_how(key), file=sys.stderr if as_json else sys.stdout)
