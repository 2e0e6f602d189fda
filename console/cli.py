"""The front door: `tonewatch up | down | status | demo | listen | record | replay | incidents | features | ...`.

Commands import what they need when they run: `tonewatch --help` must answer in under a second, and mlflow alone
takes five (research/stack.md 6).
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from console.cases import app as cases
from console.commands import Json, StateDir, settings_for
from console.connect import app as connect
from console.drift import app as drift
from console.features import app as features
from console.incidents import app as incidents
from console.keys import app as keys
from console.lineage import lineage
from console.models import app as models
from console.recordings import record, replay
from console.report import app as report
from console.tenants import app as tenants
from console.training import train

if TYPE_CHECKING:
    from console.stack.status import Status
    from console.standing import Standing
    from tonewatch.settings import Settings

INTERRUPTED = 130
Result = TypeVar("Result")

app = typer.Typer(
    name="tonewatch",
    help="Autonomous reliability for audio-streaming platforms: watches, says why, mends, and tells people.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # main() tells our errors in a line; others are for a bug report, unadorned
    rich_markup_mode=None,  # plain help: quick, and the same in a log
)

app.add_typer(cases)
app.add_typer(connect)
app.add_typer(drift)
app.add_typer(features)
app.add_typer(incidents)
app.add_typer(keys)
app.add_typer(models)
app.add_typer(report)
app.add_typer(tenants)
app.command()(lineage)
app.command()(record)
app.command()(replay)
app.command()(train)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    import asyncio

    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _print_json(document: object) -> None:
    import json

    print(json.dumps(document, indent=1, default=str))


def _say(part: str, what: str) -> None:
    print(f"{part}: {what}", file=sys.stderr, flush=True)


@app.command()
def up(state_dir: StateDir = None, as_json: Json = False) -> None:
    """Start PostgreSQL, Redis, Prefect, gateway and watcher; returns when all are healthy.

    But for a light profile (station) MLflow and a Prefect worker as well.
    """
    from console.stack import lifecycle

    status = _run(lifecycle.up(settings_for(state_dir), _say))
    _tell(status, [], as_json)
    for remark in _remarks(state_dir):
        _say("note", remark)


def _remarks(state_dir: Path | None) -> list[str]:
    from console.commands import run
    from console.standing import at_start
    from tonewatch.errors import TonewatchError

    try:
        return run(state_dir, lambda warehouse: at_start(settings_for(state_dir), warehouse))
    except TonewatchError as error:  # it is up all the same
        return [str(error)]


@app.command()
def down(state_dir: StateDir = None) -> None:
    """Stop the stack and whatever a killed run left behind."""
    from console.stack import lifecycle

    if not _run(lifecycle.down(settings_for(state_dir), _say)):
        print("nothing was up")


@app.command()
def status(state_dir: StateDir = None, as_json: Json = False) -> None:
    """Say what runs, how it is, what the watcher sees, and each tenant's sources. Exit status 1 when it is not up."""
    from console.stack import lifecycle

    found = lifecycle.status(settings_for(state_dir))
    tenants = _standings(state_dir) if found.up else []
    _tell(found, tenants, as_json, _picture(state_dir, tenants) if found.up else None)
    if not found.up:
        raise typer.Exit(1)


def _standings(state_dir: Path | None) -> list[Standing]:
    from console.commands import run
    from console.stack.lifecycle import connected
    from console.standing import standings
    from tonewatch.errors import TonewatchError

    try:
        return run(state_dir, lambda warehouse: standings(connected(settings_for(state_dir)), warehouse))
    except TonewatchError as error:  # which parts run is told all the same
        _say("tenants", str(error))
        return []


def _picture(state_dir: Path | None, tenants: list[Standing]) -> dict[str, Any] | None:
    from console.stack.lifecycle import connected
    from console.standing import picture
    from tonewatch.errors import TonewatchError

    try:
        return _run(picture(connected(settings_for(state_dir)), tenants))
    except TonewatchError:  # it has just ended
        return None


def _tell(found: Status, tenants: list[Standing], as_json: bool, picture: dict[str, Any] | None = None) -> None:
    if as_json:
        told = {"picture": picture, "tenants": [each.document() for each in tenants]}
        _print_json(found.as_dict() | told)
        return
    print(f"{'up' if found.up else 'not up'}, state in {found.state_dir}")
    for part in found.parts:
        memory = "" if part.memory_mib is None else f"{part.memory_mib:.0f} MiB"
        print(f"  {part.name:<14}{part.state:<12}{memory:>9}  {part.url or ''} {part.note}".rstrip())
    if tenants:
        _tell_tenants(tenants)
    if picture:
        from console.demo.live import Scene, heartbeat

        print(heartbeat(Scene("watching", 0.0, picture)))
        for incident in picture.get("incidents") or []:
            print(f"  incident {incident['id']}: {incident['title']} [{incident['state']}]")


def _tell_tenants(tenants: list[Standing]) -> None:
    from tonewatch.clock import SYSTEM

    print("tenants")
    for each in tenants:
        print("\n".join(each.text(SYSTEM.now())))


@app.command()
def demo(
    faults: Annotated[
        str, typer.Option(help="Faults to inject, separated by commas, `all` or `none`.")
    ] = "transcoder-crash",
    faults_from: Annotated[
        Path | None, typer.Option(help="Folder of further faults (docs/faults.md).", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides when faults come and what they hit.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result as JSON to this file, too.", show_default=False)
    ] = None,
    channels: Annotated[int, typer.Option(min=1, max=20, help="Channels of the soundstage.")] = 2,
    players: Annotated[int, typer.Option(min=1, max=500, help="Players at the busiest hour.")] = 20,
    calm: Annotated[
        float, typer.Option(min=0, help="Minutes of calm to watch after learning, before any fault.")
    ] = 0.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave all running afterwards, until Ctrl-C.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for report, mailbox, logs and result.")] = Path("demo-out"),
    state_dir: StateDir = None,
) -> None:
    """Play a real streaming platform, break it, and watch it being mended.

    Exit status 1 if a fault was missed or wrongly mended, or a false incident opened.
    """
    from console.demo.performance import Options
    from console.demo.performance import demo as run_demo

    names = tuple(name.strip() for name in faults.split(",") if name.strip())
    if not names:
        raise typer.BadParameter("name at least one fault, `all` or `none`", param_hint="--faults")
    names = () if names == ("none",) else names
    options = Options(names, faults_from, seed, json_file, channels, players, keep, out, state_dir, calm * 60)
    raise typer.Exit(_run(run_demo(options)))


@app.command()
def listen(
    url: Annotated[str, typer.Argument(help="An HLS playlist or a plain HTTP (Icecast) stream.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per line.")] = False,
    duration: Annotated[
        str | None, typer.Option("--for", help="How long, e.g. 60s; default: to the end.", show_default=False)
    ] = None,
    max_silence: Annotated[float, typer.Option(help="Seconds of silence that are still good.")] = 10.0,
    max_overdue: Annotated[
        float | None, typer.Option(help="Seconds; default: one target duration.", show_default=False)
    ] = None,
    min_lufs: Annotated[float | None, typer.Option(help="Integrated loudness at least.", show_default=False)] = None,
    max_lufs: Annotated[float | None, typer.Option(help="Integrated loudness at most.", show_default=False)] = None,
    max_true_peak: Annotated[float | None, typer.Option(help="dBTP at most.", show_default=False)] = None,
    max_latency: Annotated[float | None, typer.Option(help="Seconds at most.", show_default=False)] = None,
    max_decode_errors: Annotated[int | None, typer.Option(help="At most so many.", show_default=False)] = None,
) -> None:
    """Listen to a stream: loudness, silence, peaks, metadata, playlist faults, latency. Needs no set-up.

    Exit status 0 when all thresholds held, 1 when one was broken, 2 when there is nothing to listen to.
    """
    from console import listen as listening
    from tasks.listen import Thresholds

    limits = Thresholds(max_silence, max_overdue, min_lufs, max_lufs, max_true_peak, max_latency, max_decode_errors)
    seconds = listening.seconds_of(duration) if duration else None
    raise typer.Exit(listening.run(url, for_seconds=seconds, json_output=as_json, limits=limits))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    context: typer.Context,
    tenant: Annotated[
        str | None, typer.Option(help="Whose rows to see; without one, none.", show_default=False)
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Open psql on the running stack's warehouse as the app role; what follows goes to psql, e.g. -c "select 1"."""
    from console.psql import open_psql

    open_psql(settings_for(state_dir), tenant, context.args)


class Wanted(StrEnum):
    """What is to become of the kill switch."""

    ON = "on"
    OFF = "off"
    STATUS = "status"


@app.command()
def remediation(
    wanted: Annotated[Wanted, typer.Argument(help="on, off, or status: how it stands.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the audit.")] = "",
    author: Annotated[
        str | None, typer.Option("--as", help="Who says so. Default: the user of this machine.", show_default=False)
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="In whose audit it stands. Default: the settings' tenant.", show_default=False)
    ] = None,
    as_json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """The kill switch: off stops every remedy within a second. Works whether or not the stack is up.

    Exit status of `status`: 0 when remedies may act, 1 when they are stopped.
    """
    import getpass
    from dataclasses import asdict

    from console.remediation import standing, turn

    settings = settings_for(state_dir)
    if wanted is Wanted.STATUS:
        found = standing(settings)
    else:
        found = _run(turn(settings, wanted is Wanted.ON, author or getpass.getuser(), reason, tenant))
    if as_json:
        _print_json(asdict(found))
    else:
        print(f"remediation: {found.switch}" + ("" if found.acts else "; no remedy acts by itself"))
        print(f"  {found.file}" + ("" if found.auto_remediation else "; the setting AUTO_REMEDIATION is off"))
        if found.note:
            print(f"  {found.note}")
    if wanted is Wanted.STATUS and not found.acts:
        raise typer.Exit(1)


@app.command(name="settings")
def show_settings(as_json: Json = False) -> None:
    """List every setting with its value now and what it means. Secrets are masked."""
    from tonewatch.settings import read

    rows = setting_rows(read())
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        print(f"{row['name']} = {'(unset)' if row['value'] is None else row['value']}\n    {row['description']}")


def setting_rows(settings: Settings) -> list[dict[str, Any]]:
    """[{name, value, description}]; name is the environment variable's; passwords, also those in URLs, are masked."""
    from tonewatch.settings import PREFIX

    return [
        {
            "name": PREFIX + name.upper(),
            "value": _masked(getattr(settings, name)),
            "description": field.description or "",
        }
        for name, field in type(settings).model_fields.items()
    ]


def _masked(value: object) -> object:
    import re

    if value is None or isinstance(value, bool | int):
        return value
    if hasattr(value, "get_secret_value"):
        return "********"
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return re.sub(r"//([^/@:]*):[^/@]*@", r"//\1:********@", text)


def main() -> None:
    """Entry point: our own errors become their message and exit status."""
    from tonewatch.errors import TonewatchError

    try:
        app(prog_name="tonewatch")
    except TonewatchError as error:
        print(f"tonewatch: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
