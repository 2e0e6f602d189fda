"""`tonewatch report`: the figures of a stretch of time, to read, to keep, or to send.

The sub-commands import what they need when they run, like those of console/cli.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands import Json, StateDir, Tenant, as_json_text, connected_settings

if TYPE_CHECKING:
    from datetime import datetime

    from policy.period import Period
    from tasks.weekly import Laid, Report
    from tonewatch.clock import Clock
    from tonewatch.settings import Settings

app = typer.Typer(
    name="report",
    help="Report availability, incidents, minutes lost and saved, what was done, and false pages.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _reports() -> None:
    """Keeps `weekly` a command of its own, also while it is the only one."""


@app.command()
def weekly(
    until: Annotated[
        str | None,
        typer.Option(help="ISO date or time (UTC without a zone). Default: now.", show_default=False),
    ] = None,
    days: Annotated[
        float | None,
        typer.Option(help="So many days up to `--until`, instead of the ISO week before it.", show_default=False),
    ] = None,
    as_json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="Write it as .txt, .html and .png into this folder.", show_default=False)
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="Put it into the outbox: it goes out by e-mail.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --send: again, also if it was sent.")] = False,
    tenant: Tenant = None,
    state_dir: StateDir = None,
) -> None:
    """Print the report on the last whole week (or on --days) as plain text."""
    import asyncio
    import sys

    from tasks.phrase import as_document
    from tasks.weekly import write
    from tonewatch.clock import SYSTEM

    settings = connected_settings(state_dir)
    period = period_of(until, days, SYSTEM.now())
    report, laid = asyncio.run(_report(settings, tenant or settings.tenant, period, SYSTEM, send=send, force=force))
    if as_json:
        figures = as_document(report.summary) | {"notice": laid.notice if laid else None}
        print(as_json_text(figures))
    else:
        print(report.text, end="")
    for path in write(report, out) if out else ():
        print(f"written: {path}", file=sys.stderr)
    if laid is not None:
        print(f"{laid.told}: notice {laid.notice}", file=sys.stderr)


async def _report(
    settings: Settings, tenant: str, period: Period, clock: Clock, *, send: bool, force: bool
) -> tuple[Report, Laid | None]:
    """Raises SettingsError: there is no e-mail to send it by."""
    from tasks.weekly import lay, make
    from tonewatch.errors import SettingsError
    from tonewatch.settings import addressed
    from warehouse import tenants
    from warehouse.database import Warehouse

    warehouse = Warehouse.from_settings(settings)
    try:
        now = clock.now()
        async with warehouse.as_tenant(tenant) as db:
            profile = await tenants.profile(tenant, db)
        if send and "email" not in addressed(settings, profile).alert_channels:
            raise SettingsError(
                "reports go by e-mail, and alert_channels does not name it; add email to ALERT_CHANNELS"
            )
        report = await make(tenant, warehouse, period, profile, now, settings.named_state_dir)
        return report, await lay(tenant, warehouse, report, now, force=force) if send else None
    finally:
        await warehouse.close()


def period_of(until: str | None, days: float | None, now: datetime) -> Period:
    """What the options mean. Raises SettingsError: `until` is no date or time, or `days` no number of days."""
    from datetime import UTC, datetime

    from policy.period import days_until, week_before
    from tonewatch.errors import SettingsError

    try:
        end = now if until is None else datetime.fromisoformat(until)
    except ValueError as error:
        raise SettingsError(f"{until!r} is no date or time; write it as 2026-07-06 or 2026-07-06T12:00Z") from error
    end = end if end.tzinfo is not None else end.replace(tzinfo=UTC)
    return week_before(end) if days is None else days_until(days, end)
