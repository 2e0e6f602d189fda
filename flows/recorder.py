"""Shows the journal's runs in Prefect, from a thread of its own: no tick ever waits for an orchestrator.

A run is opened when it begins and closed when it ends. Its flow waits in between. When Prefect does not answer within
ten seconds the flow is abandoned; the journal still holds the run, and it is recorded with its true times once Prefect
is back. (Killed in the middle of a flow, Prefect's client does not return for more than 84 s: research/stack.md.)
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Crashed

from tonewatch.records import Run, RunKind

PATIENCE_SECONDS = 10.0
HEALTH_SECONDS = 3.0
log = logging.getLogger(__name__)

#: A flow that shows a run: (run) -> its result. Its body calls `begin` and awaits `ended`.
RunFlow = Callable[["Run", bool], Awaitable[Any]]


@dataclass(slots=True)
class Shown:
    """A run on its way into Prefect."""

    ended: asyncio.Future[Run]
    began: asyncio.Event = field(default_factory=asyncio.Event)
    flow_run: str | None = None


#: Runs that a flow's body may ask for, by run id. Lives in the recorder's thread alone.
_shown: dict[str, Shown] = {}


async def ended(run_id: str, flow_run: str | None) -> Run:
    """Called by a flow's body: says that it runs as `flow_run`, and waits for the run to end."""
    shown = _shown[run_id]
    shown.flow_run = flow_run
    shown.began.set()
    return await shown.ended


class Recorder:
    """The thread in which Prefect's client lives.

    `flows` gives the flow for each kind of run; `recorded` is called in the recorder's thread with (run id, flow run
    id) once Prefect has acknowledged the end.
    """

    def __init__(self, flows: Mapping[RunKind, RunFlow], recorded: Callable[[str, str], None]) -> None:
        self._flows = flows
        self._recorded = recorded
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="prefect-recorder", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._interrupted: dict[str, str] = {}
        self._round: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to record."""
        self._thread.start()

    def stop(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Give what is under way `seconds` to end, then let go of it; the journal keeps what was not recorded."""
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result(seconds)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)

    def open(self, run: Run) -> None:
        """Show a run that has just begun. Returns at once."""
        self._loop.call_soon_threadsafe(self._begin, run, None)

    def close(self, run: Run) -> None:
        """Tell that a run has ended, with its summary. Returns at once."""
        self._loop.call_soon_threadsafe(self._end, run)

    def record_late(self, runs: Sequence[Run]) -> None:
        """Record runs of the journal that have ended and that Prefect has not seen to their end. Returns at once."""
        if runs:
            self._loop.call_soon_threadsafe(self._begin_late, list(runs))

    def healthy(self) -> Future[bool]:
        """Whether Prefect's API answers."""
        return asyncio.run_coroutine_threadsafe(self._healthy(), self._loop)

    def _begin_late(self, runs: list[Run]) -> None:
        """One round at a time: a server that has just come back is not to be overrun."""
        if self._round is None or self._round.done():
            self._round = self._spawn(self._late(runs))

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin(self, run: Run, late: Run | None) -> None:
        if run.id in _shown:
            return
        _shown[run.id] = Shown(self._loop.create_future())
        self._spawn(self._show(run, late is not None))
        if late is not None:
            self._end(late)

    def _end(self, run: Run) -> None:
        shown = _shown.get(run.id)
        if shown is not None and not shown.ended.done():
            shown.ended.set_result(run)

    async def _drain(self) -> None:
        while self._tasks - {asyncio.current_task()}:
            others = [task for task in self._tasks if task is not asyncio.current_task()]
            await asyncio.wait(others)

    async def _late(self, runs: list[Run]) -> None:
        runs = [run for run in runs if run.id not in _shown]
        if not runs or not await self._healthy():
            return
        for run in runs:
            await self._close_interrupted(run.id)
            self._begin(run, run)

    async def _healthy(self) -> bool:
        try:
            async with asyncio.timeout(HEALTH_SECONDS), get_client() as client:
                return await client.api_healthcheck() is None
        except Exception:  # noqa: BLE001 - whatever its client raises means one thing here: Prefect is away
            return False

    async def _show(self, run: Run, late: bool) -> None:
        """Run the flow that stands for `run`; abandon it when Prefect keeps silent at its beginning or end."""
        shown = _shown[run.id]
        try:
            if not await self._healthy():
                return
            flow = asyncio.ensure_future(self._flows[run.kind](run, late))
            flow.add_done_callback(_swallow)
            began = asyncio.ensure_future(shown.began.wait())
            await asyncio.wait({flow, began}, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            began.cancel()
            if shown.began.is_set() and not flow.done():
                await asyncio.wait({flow, shown.ended}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({flow}, timeout=PATIENCE_SECONDS)
            self._settle(run, shown, flow)
        finally:
            _shown.pop(run.id, None)

    def _settle(self, run: Run, shown: Shown, flow: asyncio.Future[Any]) -> None:
        if flow.done() and not flow.cancelled() and flow.exception() is None and shown.flow_run:
            self._recorded(run.id, shown.flow_run)
            return
        flow.cancel()
        if shown.flow_run:
            self._interrupted[run.id] = shown.flow_run
        log.warning(
            "run %s (%s) not recorded: Prefect did not answer; it will be when Prefect is back", run.id, run.kind
        )

    async def _close_interrupted(self, run_id: str) -> None:
        """A flow run that Prefect lost sight of is not left Running for ever."""
        flow_run = self._interrupted.pop(run_id, None)
        if flow_run is None:
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), get_client() as client:
                state: State[Any] = Crashed(message=f"Prefect was away; recorded anew as run {run_id}")
                await client.set_flow_run_state(flow_run, state, force=True)
        except Exception:  # noqa: BLE001 - tried again with the next round, nothing else depends on it
            self._interrupted[run_id] = flow_run


def _swallow(flow: asyncio.Future[Any]) -> None:
    """Look at the outcome of an abandoned flow, so that asyncio does not complain that nobody did."""
    if not flow.cancelled():
        flow.exception()
