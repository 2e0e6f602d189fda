"""How it stands with each tenant, besides the parts that run: its sources, and what keeps people from being told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from console.sources import Source, configured, lines
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import SettingsError, UnknownTenant
from tonewatch.records import Tenant
from tonewatch.settings import Profile, Settings, Sources, addressed, load_profile
from warehouse import notices, tenants
from warehouse.cache import Cache
from warehouse.database import Connection, Warehouse

#: What was refused for good longer ago than this is no news.
LATELY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """One tenant. picture: the watcher's live one; None: nobody watches it now. remarks: what to set, in words."""

    tenant: str
    profile: str
    picture: dict[str, Any] | None
    sources: list[Source]
    remarks: list[str]

    @property
    def watched(self) -> bool:
        """Whether a watcher has told of it within the last minute."""
        return self.picture is not None

    def document(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "tenant": self.tenant,
            "profile": self.profile,
            "watched": self.watched,
            "sources": self.sources,
            "remarks": self.remarks,
        }

    def text(self, now: datetime) -> list[str]:
        """For people."""
        watched = "" if self.watched else ", not watched now"
        head = f"{self.tenant} (profile {self.profile}{watched})"
        told = [f"    {line}" for source in self.sources for line in lines(source, now)]
        told = told or ["    no source is connected: see `tonewatch connect --help`, or set TONEWATCH_INVENTORY_URL"]
        return [f"  {head}", *told, *(f"    note: {remark}" for remark in self.remarks)]


async def standings(settings: Settings, warehouse: Warehouse, clock: Clock = SYSTEM) -> list[Standing]:
    """The tenant of the settings, and every other that is watched, has sources or needs something to be set.

    settings: with the address of the Redis in which the live pictures are. Raises WarehouseAway.
    """
    async with warehouse.as_dispatcher() as db:
        slugs = await tenants.slugs(db)
    found = await standings_of(slugs, settings, warehouse, clock)
    return [each for each in found if each.watched or each.sources or each.remarks or each.tenant == settings.tenant]


async def standings_of(
    slugs: Sequence[str], settings: Settings, warehouse: Warehouse, clock: Clock = SYSTEM
) -> list[Standing]:
    """How it stands with each of these tenants, without those that have left. Raises WarehouseAway."""
    found = []
    async with _cache(settings) as cache:
        for slug in slugs:
            with suppress(UnknownTenant):
                found.append(await _standing(slug, warehouse, cache, clock))
    return found


async def picture(settings: Settings, known: Sequence[Standing]) -> dict[str, Any] | None:
    """The live picture to show: of the settings' tenant, else of the first that has one; None: there is none.

    Redis alone is asked: PostgreSQL may be away, and `known` empty.
    """
    async with _cache(settings) as cache:
        own = await cache.live(settings.tenant)
    return own or next((each.picture for each in known if each.picture), None)


async def remarks_on(tenant: str, settings: Settings, warehouse: Warehouse, clock: Clock = SYSTEM) -> list[str]:
    """What keeps people from being told of the tenant, as far as is known. Raises UnknownTenant, WarehouseAway."""
    async with _cache(settings) as cache:
        found = await _standing(tenant, warehouse, cache, clock)
    if found.watched:
        return found.remarks
    async with warehouse.as_tenant(tenant) as db:
        profile, _ = await _profile(tenant, db)
    return [*lacking(addressed(settings, profile)), *found.remarks]


@asynccontextmanager
async def _cache(settings: Settings) -> AsyncIterator[Cache]:
    cache = Cache(settings.redis_url.get_secret_value() if settings.redis_url else None)
    try:
        yield cache
    finally:
        await cache.close()


async def _profile(tenant: str, db: Connection) -> tuple[Profile, list[str]]:
    """How the tenant is watched, and a remark when its own settings do not fit."""
    try:
        return await tenants.profile(tenant, db), []
    except SettingsError as error:
        held = await tenants.get(tenant, db)
        return load_profile(held.profile), [f"its settings do not fit, and its profile's file is used: {error}"]


async def _standing(tenant: str, warehouse: Warehouse, cache: Cache, clock: Clock) -> Standing:
    async with warehouse.as_tenant(tenant) as db:
        held = await tenants.get(tenant, db)
        named, remarks = await _named(tenant, db)
        stuck = await notices.stuck(tenant, db, clock.now() - LATELY)
    seen = await cache.live(tenant)
    found = configured(named) if seen is None else seen.get("sources") or []
    # What the watcher lacks it says itself: this process may have been started with other settings.
    remarks += (seen or {}).get("lacking") or []
    return Standing(tenant, held.profile, seen, found, [*remarks, *(told_of(each) for each in stuck)])


async def _named(tenant: str, db: Connection) -> tuple[Sources, list[str]]:
    """The sources that the tenant's settings name, and remarks; a profile whose file is gone is one of them."""
    try:
        profile, remarks = await _profile(tenant, db)
    except SettingsError as error:
        other = f"give it another: `tonewatch tenants settings {tenant} --profile NAME`"
        return Sources(), [f"it cannot be watched, and which sources it has is not known: {error}; {other}"]
    return profile.sources, remarks


def told_of(stuck: notices.Stuck) -> str:
    """Notices that did not go out, in words."""
    count = f"{stuck.count} notice{'s' * (stuck.count != 1)} for {stuck.channel}"
    since = f"since {stuck.since:%Y-%m-%d %H:%M:%S} UTC"
    what = f"{count} cannot go out {since}" if stuck.state == "pending" else f"{count} refused for good {since}"
    check = {"email": "TONEWATCH_SMTP_URL, TONEWATCH_MAIL_FROM and TONEWATCH_MAIL_TO", "slack": "the Slack settings"}
    return f"{what}: {stuck.last_error}. Check {check.get(stuck.channel, 'its settings')}"


def lacking(settings: Settings) -> list[str]:
    """What must be set before anybody can be told of anything; nothing: all that is switched on is set up.

    settings: with the receivers of the tenant's own (`addressed`).
    """
    if not settings.alert_channels:
        return ["nobody is told of anything: no channel is on; set ALERT_CHANNELS to email or slack"]
    found = []
    if "email" in settings.alert_channels:
        needed = {"TONEWATCH_SMTP_URL": settings.smtp_url, "TONEWATCH_MAIL_TO": settings.mail_to}
        missing = [name for name, value in needed.items() if not value]
        if missing:
            found.append(f"no mail can go out: set {' and '.join(missing)} for `tonewatch up`")
    slack = settings.slack_webhook_url or (settings.slack_bot_token and settings.slack_channel)
    if "slack" in settings.alert_channels and not slack:
        found.append(
            "nothing can go to Slack: set TONEWATCH_SLACK_WEBHOOK_URL, or TONEWATCH_SLACK_BOT_TOKEN and "
            "TONEWATCH_SLACK_CHANNEL, for `tonewatch up`"
        )
    return found


def other_profile(settings: Settings, held: Tenant) -> list[str]:
    """That the tenant is watched by another profile than `up` was told, and how to change it."""
    if held.profile == settings.profile:
        return []
    told = (
        f"{held.slug} is watched by the profile {held.profile}, as its own settings say (version "
        f"{held.settings_version}), not by {settings.profile}, with which the stack was started (TONEWATCH_PROFILE); "
        f"to change that: `tonewatch tenants settings {held.slug} --profile {settings.profile}`"
    )
    if load_profile(settings.profile).light != load_profile(held.profile).light:
        told += f". The parts that run are those of {settings.profile}"
    return [told]


async def at_start(settings: Settings, warehouse: Warehouse, clock: Clock = SYSTEM) -> list[str]:
    """What who has just started the stack with these settings should know. Raises UnknownTenant, WarehouseAway."""
    async with warehouse.as_tenant(settings.tenant) as db:
        held = await tenants.get(settings.tenant, db)
        profile, remarks = await _profile(settings.tenant, db)
        stuck = await notices.stuck(settings.tenant, db, clock.now() - LATELY)
    reached = addressed(settings, profile)
    return [*other_profile(settings, held), *remarks, *lacking(reached), *(told_of(each) for each in stuck)]
