"""The demo between its beginning and its end: learn what is normal, then one fault after another, then judge."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from console.demo import lesson
from console.demo.live import champions
from console.demo.scoring import FaultResult, Loss, Seen, Truth, attribute, belongs, judge
from console.demo.show import Show
from console.demo.stage import Stage
from console.waiting import until
from tasks.report import report_incident
from tonewatch.clock import SYSTEM
from tonewatch.errors import FaultError, PartFailed, WarehouseAway
from tonewatch.records import Incident, IncidentState, NoticeState
from tonewatch.settings import Settings, load_profile
from warehouse import actions, incidents, keys, notices, verdicts
from warehouse.cache import Cache
from warehouse.database import Warehouse

LEARNED_DAYS = 2  # whole compressed days of clean samples that the models are trained on
CALM_SECONDS = (10.0, 40.0)  # before a fault; drawn by the seed
WATCHED_SECONDS = 120.0  # how long the loop has to mend a fault
HARMLESS_SECONDS = 60.0  # how long something that is no fault is watched
AFTERWARDS_SECONDS = 20.0  # how long its traces are looked for when it is over
PATIENCE_SECONDS = 60.0  # for what ought to happen by itself: first samples, champions, mails
SETTLED_SECONDS = 15.0  # no new champion for so long: the watcher has taken up all there are
OVER = frozenset({IncidentState.MENDED, IncidentState.HANDED_OVER, IncidentState.CLOSED})


class Rehearsal:
    """A stack and a soundstage that are up, and what is done with them. `settings` are the running stack's."""

    def __init__(self, settings: Settings, sound: Stage, show: Show, seed: int) -> None:
        self._settings, self._sound, self._show, self._seed = settings, sound, show, seed
        self._tenant = settings.tenant
        self._warehouse = Warehouse.from_settings(settings)
        self._cache = Cache(settings.redis_url.get_secret_value() if settings.redis_url else None)
        self._truths: list[Truth] = []
        self._began = self._hears_since = SYSTEM.now()
        self._random = random.Random(seed)  # noqa: S311 - moments that can be repeated, no secrets
        show.look_with(lambda: self._cache.live(self._tenant))

    async def close(self) -> None:
        """Let go of the warehouse and the cache."""
        self._show.look_with(None)
        await self._cache.close()
        await self._warehouse.close()

    async def let_players_report(self, key_file: Path) -> None:
        """Make the API key for the players' beacons and write it, readable by us alone, where they look for it."""
        async with self._warehouse.as_tenant(self._tenant) as db:
            now = SYSTEM.now()
            key = await keys.create(self._tenant, db, purpose="demo", scopes=("beacons", "changes"), now=now)
        draft = key_file.with_suffix(".part")
        draft.touch(mode=0o600)
        draft.write_text(key + "\n", encoding="ascii")
        draft.replace(key_file)
        self._hears_since = SYSTEM.now()

    # Learning

    async def learn(self) -> None:
        """Collect two whole compressed days of calm, have the models trained on them, and wait for the champions.

        Raises PartFailed: nothing is collected, the training failed, or no champion scores.
        """
        day = load_profile(self._settings.profile).day_seconds
        start = await self._collected_since()
        end = start + timedelta(days=LEARNED_DAYS * day / 86400)
        self._show.enter("listening to two whole days of calm", max((end - SYSTEM.now()).total_seconds(), 1.0))
        if not await self._until_picture_of(end, LEARNED_DAYS * day + PATIENCE_SECONDS):
            since = self._show.picture.get("time") or "its start"
            raise PartFailed(f"the watcher has told nothing since {since}, while it was to learn; its log says why")
        self._show.enter("training the models on them")
        told = await lesson.train(self._settings, start, end, self._show.say)
        self._show.say(f"trained in {told.get('seconds', 0):.0f} s")
        await self._until_champions_settle()

    async def _collected_since(self) -> datetime:
        async def first() -> datetime | None:
            since = self._show.picture.get("collected_since")
            return datetime.fromisoformat(since) if since else None

        self._show.enter("waiting for the watcher's first samples")
        since = await until(first, PATIENCE_SECONDS)
        if since is None:
            raise PartFailed("the watcher collected nothing within 60 s; its log says why")
        return max(since, self._hears_since)

    @property
    def picture(self) -> Mapping[str, Any]:
        """What the watcher saw last; empty before its first."""
        return self._show.picture

    async def _until_picture_of(self, moment: datetime, seconds: float) -> bool:
        async def reached() -> bool:
            time = str(self._show.picture.get("time") or "")
            return bool(time) and datetime.fromisoformat(time) >= moment

        return bool(await until(reached, seconds))

    async def _until_champions_settle(self) -> None:
        """The watcher takes the champions up one after another: wait until no more come."""
        known, since = champions(self._show.picture), SYSTEM.monotonic()

        async def settled() -> bool:
            nonlocal known, since
            if champions(self._show.picture) != known:
                known, since = champions(self._show.picture), SYSTEM.monotonic()
            return bool(known) and SYSTEM.monotonic() - since > SETTLED_SECONDS

        if not await until(settled, PATIENCE_SECONDS) and not known:
            raise PartFailed("the training run completed, but no champion scores after 60 s; see the watcher's log")

    # Calm

    async def keep_calm(self, seconds: float) -> None:
        """Watch the platform without any fault: whatever incident is opened now is a false one."""
        self._show.enter("watching the calm", seconds)
        if not await self._until_picture_of(SYSTEM.now() + timedelta(seconds=seconds), seconds + PATIENCE_SECONDS):
            raise PartFailed("the watcher stopped while the calm was watched; its log says why")

    # One fault

    async def prove(self, fault: str) -> None:
        """A stretch of calm, the fault, and watching what the loop makes of it.

        Raises FaultError: it could not be injected.
        """
        calm = self._random.uniform(*CALM_SECONDS)
        self._show.enter("calm", calm)
        await self._until_picture_of(SYSTEM.now() + timedelta(seconds=calm), calm + PATIENCE_SECONDS)
        truth = await self._sound.inject(fault, self._seed)
        self._truths.append(truth)
        watched = (
            WATCHED_SECONDS if truth.is_fault else max(HARMLESS_SECONDS, (truth.lasts_s or 0.0) + AFTERWARDS_SECONDS)
        )
        self._show.enter(f"injected {truth.name} into {truth.entity}; the loop has {watched:.0f} s")
        over = await until(lambda: self._is_over(truth), watched, every=1.0)
        self._show.say(f"{truth.name}: over" if over else f"{truth.name}: {watched:.0f} s have passed")
        await self._heal(truth)

    async def _is_over(self, truth: Truth) -> bool:
        """Whether the loop is done with the fault and sound is back."""
        if not truth.is_fault:
            return False
        mine = [incident for incident in await self._incidents() if belongs(incident, truth)]
        if not mine or not all(incident.state in OVER for incident in mine):
            return False
        starved = (self._show.picture.get("players") or {}).get("starved_ratio") or 0.0
        return not starved

    async def _incidents(self) -> list[Incident]:
        try:
            async with self._warehouse.as_tenant(self._tenant) as db:
                return await incidents.opened_since(self._tenant, db, self._began)
        except WarehouseAway:
            return []  # the next look may find it back

    async def _heal(self, truth: Truth) -> None:
        try:
            await self._sound.heal(truth)
        except FaultError as error:
            self._show.say(f"{truth.name} could not be healed: {error}")
        self._truths[-1] = replace(truth, healed=SYSTEM.now())

    # The end

    async def judge(self) -> tuple[list[FaultResult], list[Seen]]:
        """What became of each fault, and the incidents that no fault explains."""
        self._show.enter("gathering the results")
        await until(self._all_sent, PATIENCE_SECONDS / 3)
        mine, false = attribute(await self._seen(), self._truths)
        return [judge(truth, mine[truth.id], await self._loss(truth)) for truth in self._truths], false

    async def _all_sent(self) -> bool:
        async with self._warehouse.as_tenant(self._tenant) as db:
            for incident in await incidents.opened_since(self._tenant, db, self._began):
                told = await notices.of_incident(self._tenant, db, incident.id)
                if any(notice.state is NoticeState.PENDING for notice in told):
                    return False
        return True

    async def _seen(self) -> list[Seen]:
        async with self._warehouse.as_tenant(self._tenant) as db:
            return [
                Seen(
                    incident,
                    tuple(await incidents.causes(self._tenant, db, incident.id)),
                    tuple(await actions.of_incident(self._tenant, db, incident.id)),
                    tuple(await verdicts.of_incident(self._tenant, db, incident.id)),
                )
                for incident in await incidents.opened_since(self._tenant, db, self._began)
            ]

    async def _loss(self, truth: Truth) -> Loss:
        try:
            return await self._sound.outcome(truth)
        except FaultError as error:
            self._show.say(f"no outcome of {truth.name}: {error}")
            return Loss()

    async def report(self, incident_ids: Sequence[str], folder: Path) -> list[Path]:
        """Write the reports of these incidents into `folder`; gives the HTML files."""
        written = []
        async with self._warehouse.as_tenant(self._tenant) as db:
            for incident_id in incident_ids:
                written.append((await report_incident(self._tenant, db, incident_id, folder))[0])
        return written
