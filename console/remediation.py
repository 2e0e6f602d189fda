"""`tonewatch remediation`: the kill switch by command. The file is set first: it must work when nothing else does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tonewatch import switch
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import NotUp, TonewatchError
from tonewatch.settings import Settings

WORDS = {True: switch.ON, False: switch.OFF, None: "unreadable"}


@dataclass(frozen=True, slots=True)
class Standing:
    """How the switch stands. `acts`: whether remedies may act now; `audited`: whether its change is written down."""

    switch: str
    file: Path
    auto_remediation: bool
    acts: bool
    audited: bool | None = None
    note: str = ""


def standing(settings: Settings, audited: bool | None = None, note: str = "") -> Standing:
    """How the switch stands, with the setting AUTO_REMEDIATION as this shell has it."""
    read = switch.read(settings.state_dir)
    acts = read is True and settings.auto_remediation
    place = switch.path(settings.state_dir)
    return Standing(WORDS[read], place, settings.auto_remediation, acts, audited, note)


async def turn(
    settings: Settings, on: bool, who: str, reason: str, tenant: str | None = None, clock: Clock = SYSTEM
) -> Standing:
    """Set the switch, then write it into the audit where there is a warehouse. Raises StateFolderError."""
    before = switch.read(settings.state_dir)
    switch.turn(settings.state_dir, on)
    try:
        await _audit(settings, tenant or settings.tenant, before, on, who, reason, clock)
    except TonewatchError as error:  # the switch is set: that no one can write it down must not look like a failure
        return standing(settings, audited=False, note=f"not in the audit: {error}")
    return standing(settings, audited=True)


async def _audit(
    settings: Settings, tenant: str, before: bool | None, on: bool, who: str, reason: str, clock: Clock
) -> None:
    from console.stack.lifecycle import connected
    from warehouse import audit
    from warehouse.database import Warehouse

    url = settings.database_url or connected(settings).database_url
    if url is None:
        raise NotUp("there is no warehouse")
    warehouse = Warehouse(url.get_secret_value())
    try:
        async with warehouse.as_tenant(tenant) as db:
            await audit.write(
                tenant,
                db,
                who=who,
                what="remediation.switch",
                subject="remediation",
                before={"switch": WORDS[before]},
                after={"switch": WORDS[on]},
                reason=reason or "tonewatch remediation",
                at=clock.now(),
            )
    finally:
        await warehouse.close()
