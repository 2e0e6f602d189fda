"""The run journal of one watcher: what began and ended, written to PostgreSQL first and then shown in Prefect."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from flows.recorder import Recorder
from tonewatch.clock import Clock
from tonewatch.records import Run, RunKind
from warehouse import journal
from warehouse.database import Warehouse

log = logging.getLogger(__name__)
#: Runs offered to Prefect in one round: after hours away all at once would be too many to be answered in time.
LATE_AT_ONCE = 5


class Runs:
    """Shifts, correlations and remediations, each journalled whether Prefect is there or not."""

    def __init__(self, tenant: str, warehouse: Warehouse, recorder: Recorder, clock: Clock) -> None:
        self._tenant, self._warehouse, self._recorder, self._clock = tenant, warehouse, recorder, clock
        self._open: dict[tuple[RunKind, str | None], Run] = {}
        self._figures: dict[str, int] = {}
        self._ticks = 0
        self._shown: dict[str, str] = {}
        self._noted: set[str] = set()

    async def begin(self, kind: RunKind, incident: str | None = None) -> None:
        """A run begins; one of its kind for the incident that is open already goes on."""
        if (kind, incident) in self._open:
            return
        run = Run(uuid4().hex[:12], self._tenant, kind, self._clock.now(), incident=incident)
        async with self._warehouse.as_tenant(self._tenant) as db:
            await journal.start(self._tenant, db, run)
        self._open[kind, incident] = run
        self._recorder.open(run)

    async def end(
        self, kind: RunKind, incident: str | None, summary: Mapping[str, Any], outcome: str = "completed"
    ) -> None:
        """A run ends; one that this watcher did not begin is let be."""
        run = self._open.get((kind, incident))
        if run is None:
            return
        run = replace(run, ended=self._clock.now(), outcome=outcome, summary=dict(summary))
        async with self._warehouse.as_tenant(self._tenant) as db:
            await journal.finish(self._tenant, db, run)
        del self._open[kind, incident]
        self._recorder.close(run)

    async def shift(self, now: datetime, seconds: float, figures: Mapping[str, int]) -> None:
        """Count a tick into the present shift; a shift that has lasted long enough ends and the next begins."""
        present = self._open.get((RunKind.DETECTION, None))
        if present is None:
            await self.begin(RunKind.DETECTION)
            present = self._open[RunKind.DETECTION, None]
        self._ticks += 1
        for name, value in figures.items():
            self._figures[name] = self._figures.get(name, 0) + value if name != "starved_s" else value
        if (now - present.started).total_seconds() >= seconds:
            await self.end(RunKind.DETECTION, None, {"ticks": self._ticks, **self._figures})
            self._figures, self._ticks = {}, 0
            await self.begin(RunKind.DETECTION)

    async def record_late(self) -> None:
        """Offer to Prefect what it has not seen to its end."""
        async with self._warehouse.as_tenant(self._tenant) as db:
            waiting = await journal.unrecorded(self._tenant, db)
            for run_id, flow_run in list(self._shown.items()):
                await journal.set_flow_run(self._tenant, db, run_id, flow_run)
                del self._shown[run_id]
        fresh = [run for run in waiting if run.id not in self._noted]
        self._recorder.record_late(fresh[:LATE_AT_ONCE])

    def recorded(self, run_id: str, flow_run: str) -> None:
        """Prefect has acknowledged a run to its end; it is written down with the next round."""
        self._noted.add(run_id)
        self._shown[run_id] = flow_run

    async def close_left_open(self) -> None:
        """Runs that a killed watcher left open end now, and say so."""
        async with self._warehouse.as_tenant(self._tenant) as db:
            for run in await journal.running(self._tenant, db):
                cut = {**run.summary, "note": "its watcher ended in the middle"}
                gone = replace(run, ended=self._clock.now(), outcome="failed", summary=cut)
                await journal.finish(self._tenant, db, gone)

    async def close_all(self) -> None:
        """The watcher stops: what is open ends with it."""
        for kind, incident in list(self._open):
            shift = {"ticks": self._ticks, **self._figures} if kind is RunKind.DETECTION else {}
            await self.end(kind, incident, {**shift, "note": "the watcher was stopped"})
