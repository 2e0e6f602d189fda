"""Following: the watcher's single series are brought back, caught up with from what is stored, and kept.

No finding waits for any of it: what lies in the past is played again a little after each tick, in the same rounds, and
the series speak once it is done. The snapshot is saved right after a tick, in a transaction of its own: findings and
cursor do not wait for megabytes, nor fail with them, and a snapshot that was not saved only leaves more to be played.
It is never ahead of the samples, which the tick has committed before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from flows.ticks import FAULTS, DetectionState
from policy.grouping import BREAKING
from tasks.alongside import HEARD_LATE
from tasks.follow import Follower
from tasks.preserve import restored, snapshot
from tasks.recall import by_round, rounds_of, ticks_of, told_of
from tasks.rounds import from_seconds
from tasks.tell import Teller, thresholds_of
from tonewatch.clock import Clock
from tonewatch.errors import ModelError
from tonewatch.records import Sample
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import calibrations, changes, snapshots
from warehouse.calibrations import Calibrated
from warehouse.database import Warehouse

log = logging.getLogger("tonewatch.watch")
#: Under which the snapshot is kept.
NAME = "series"
#: Seconds between two snapshots: so much is played again after a crash, in a second or two.
SAVED_EVERY = 300.0
#: The share of a tick's time that the past may take, and rounds that are read at once.
SHARE, READ_ROUNDS = 0.2, 20
#: Samples may be stored so many seconds after the round that they belong to; played twice they change nothing.
LATE = 60.0
#: Where nothing is known, so many days of the past are played, and rounds enough for the ensemble to judge at all.
DAYS, LEAST_ROUNDS = 1.0, 300


class Following:
    """What a watcher does about its tenant's single series, around its ticks."""

    def __init__(self, tenant: str, warehouse: Warehouse, clock: Clock) -> None:
        self.tenant, self.warehouse, self.clock = tenant, warehouse, clock
        self.thresholds: dict[str, Calibrated] = {}
        self.teller: Teller | None = None
        self._saved: float | None = None

    def fits(self, mine: Sequence[Calibrated]) -> None:
        """The tenant's thresholds that hold; those of another ensemble are not used."""
        self.thresholds = thresholds_of(mine)
        if self.teller is not None:
            self.teller.thresholds = self.thresholds

    def figures(self, state: DetectionState) -> dict[str, int | bool]:
        """For the live picture: how many series and families there are, and how many can tell anything."""
        follower = self.teller.follower if self.teller is not None else Follower(0)
        families = [family for family, rows in follower.rows_of.items() if rows]
        return {
            "followed": len(follower),
            "refused": follower.refused,
            "families": len(families),
            "thresholds": sum(family in self.thresholds for family in families),
            "by_course": int((follower.alongside.judged >= 0).sum()),
            "caught_up": state.teller is not None,
        }

    async def after(self, state: DetectionState, now: datetime, topology: Topology, profile: Profile) -> None:
        """After the tick at `now` was committed: catch up with it, and keep what is known every few minutes.

        Once that is done, the series speak from the next tick on. Raises WarehouseAway: nothing is lost, it goes on
        after the next one.
        """
        if not profile.followed_series:
            state.teller = self.teller = None
            return
        if self.teller is None or self.teller.broken:
            self.teller = await self._begin(now, profile)
        self.teller.follower.limit = profile.followed_series
        await self._hear_changes(self.teller, now, profile)
        if state.teller is None:
            until = self.clock.monotonic() + SHARE * profile.tick_seconds
            if await self._catch_up(self.teller, now, topology, profile, lambda: self.clock.monotonic() >= until):
                state.teller = self.teller
        if self._saved is None:
            self._saved = self.clock.monotonic()
        if self.clock.monotonic() - self._saved >= SAVED_EVERY:
            await self.keep()

    async def keep(self) -> None:
        """Save the snapshot. Not while a tick is under way. Raises WarehouseAway: the one before it stays."""
        teller = self.teller
        if teller is None or teller.broken or not teller.follower.rounds.ends:
            return
        state = await asyncio.to_thread(snapshot, teller)
        async with self.warehouse.as_tenant(self.tenant) as db:
            await snapshots.save(self.tenant, db, NAME, from_seconds(teller.follower.rounds.end), state)
        self._saved = self.clock.monotonic()

    async def _hear_changes(self, teller: Teller, now: datetime, profile: Profile) -> None:
        """What began since what the series know, or is announced for the next round."""
        since = from_seconds(min(teller.follower.rounds.end, now.timestamp())) - HEARD_LATE
        until = now + timedelta(seconds=2 * profile.tick_seconds)  # ticks come late now and then
        async with self.warehouse.as_tenant(self.tenant) as db:
            told = await changes.begun(self.tenant, db, sorted(BREAKING), since, until)
        teller.follower.announce(told)

    async def _begin(self, now: datetime, profile: Profile) -> Teller:
        async with self.warehouse.as_tenant(self.tenant) as db:
            self.fits(await calibrations.newest(self.tenant, db))
            kept = await snapshots.load(self.tenant, db, NAME)
        teller = None
        past = timedelta(seconds=max(DAYS * profile.day_seconds, LEAST_ROUNDS * profile.tick_seconds))
        if kept is not None:
            try:
                teller = await asyncio.to_thread(restored, kept[1], profile.followed_series)
            except ModelError as error:
                log.warning("the series are followed anew, from the samples that are stored: %s", error)
        if teller is None:
            teller = Teller(Follower(profile.followed_series))
            ticks = await ticks_of(self.tenant, self.warehouse, now - past, now)
            teller.follower.rounds.begin(min(ticks, default=now.timestamp()) - profile.tick_seconds, 0.0)
        if teller.follower.rounds.end < (now - past).timestamp():  # longer ago nothing is stored to be played
            teller.follower.rounds.begin((now - past).timestamp(), 0.0)
        teller.thresholds = self.thresholds
        return teller

    async def _catch_up(
        self, teller: Teller, end: datetime, topology: Topology, profile: Profile, enough: Callable[[], bool]
    ) -> bool:
        """Play the stored samples up to `end`; whether that is done. Stops early, not at once, when it is enough."""
        begun = from_seconds(teller.follower.rounds.end)
        left = await rounds_of(self.tenant, self.warehouse, begun, end, profile.tick_seconds)
        while left:
            some, left = left[:READ_ROUNDS], left[READ_ROUNDS:]
            start = from_seconds(teller.follower.rounds.end - LATE)
            read = await told_of(self.tenant, self.warehouse, start, from_seconds(some[-1]), topology)
            try:
                await asyncio.to_thread(play, teller, by_round(read, some), topology, profile)
            except FAULTS:
                teller.broken = True
                raise
            if enough():
                break
        return not left


def play(teller: Teller, rounds: Iterable[tuple[datetime, list[Sample]]], topology: Topology, profile: Profile) -> None:
    """Let the teller have these rounds, each with what it heard in it."""
    for end, heard in rounds:
        teller.follower.hear(heard)
        teller.tick(end, topology, profile)
