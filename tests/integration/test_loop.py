"""The loop from tick to closed incident: real PostgreSQL, a real supervised process, hand-made telemetry."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from flows.casework import Scene, Work, load_work
from flows.correlation import round_of_correlation
from flows.detection import Batch, DetectionState, restore, tick
from flows.remediation import step
from gateway.platforms.supervisor import Supervisor
from gateway.sources.inventory import Inventory
from tests.ports import free_port
from tests.unit.platform_parts import START, at, series, two_channels
from tonewatch import switch
from tonewatch.clock import ManualClock
from tonewatch.errors import PlatformError, WarehouseAway, WarehouseError
from tonewatch.records import ActionState, Approval, IncidentState, Label, Outcome, Sample
from tonewatch.settings import Profile, Settings, load_profile
from warehouse import actions, approvals, audit, incidents, labels, notices, verdicts
from warehouse import samples as samples_kept
from warehouse.database import Warehouse

DEMO = load_profile("demo")
TARGET = "component:transcoder-ch1"
PROCESS = "transcoder-ch1"
CONFIG = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[inet_http_server]
port=127.0.0.1:{port}
username=op
password={password}
[program:transcoder-ch1]
command={python} -c "import signal; signal.pause()"
autorestart=false
startsecs=0
"""


@pytest.fixture(scope="module")
def supervisor_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("supervisor")
    port = free_port()
    password = secrets.token_hex(8)
    config = folder / "supervisord.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, password=password, python=sys.executable))
    process = subprocess.Popen([sys.executable, "-m", "supervisor.supervisord", "-c", str(config)])
    yield f"http://op:{password}@127.0.0.1:{port}/RPC2"
    process.terminate()
    process.wait()


@pytest.fixture
async def platform(supervisor_url: str) -> AsyncIterator[Supervisor]:
    async with Supervisor(supervisor_url) as platform:
        for _ in range(100):  # until it listens
            with suppress(PlatformError):
                await platform.start(PROCESS)
                break
            await asyncio.sleep(0.1)
        yield platform


def inventory() -> Inventory:
    """What the platform says of itself: the transcoder that the supervisor runs, and where playlists are."""
    component = {
        "id": TARGET,
        "stage": "transcode",
        "process": PROCESS,
        "metrics_url": "http://127.0.0.1:1/metrics",
    }
    origin = {"id": "component:origin", "base_url": "http://127.0.0.1:1"}
    return Inventory.model_validate(
        {"platform": "test", "segment_seconds": 2, "components": [component], "origin": origin}
    )


@dataclass
class Loop:
    """One watcher's loop, driven by hand on a clock of its own."""

    tenant: str
    warehouse: Warehouse
    platform: Supervisor
    folder: Path
    settings: Settings
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    detection: DetectionState = field(default_factory=DetectionState)
    work: dict[str, Work] = field(default_factory=dict)
    profile: Profile = DEMO

    async def tick(self, samples: list[Sample], wait: bool = True) -> None:
        """A tick five seconds after the one before, with these samples, and a step for each incident."""
        began = self.clock.now()
        self.clock.advance(5)
        now = self.clock.now()
        topology = two_channels()
        await tick(
            self.tenant, self.warehouse, self.detection, Batch(samples, (began, now), {}), topology, self.profile
        )
        changed = await round_of_correlation(self.tenant, self.warehouse, self.detection, topology, self.profile, now)
        self.work |= {incident.id: Work(incident) for incident in changed.opened}
        for work in self.work.values():
            if work.incident.state is IncidentState.CLOSED:
                continue
            if work.incident.id in {incident.id for incident in changed.joined}:
                work.grow(next(incident for incident in changed.joined if incident.id == work.incident.id))
            await step(self.tenant, self.scene(), work, now)
            if wait and work.acting is not None:
                await asyncio.wait({work.acting})

    def scene(self) -> Scene:
        return Scene(
            settings=self.settings,
            profile=self.profile,
            warehouse=self.warehouse,
            clock=self.clock,
            holder="watcher:test",
            detection=self.detection,
            topology=two_channels(),
            inventory=inventory(),
            platform=self.platform,
            controls=None,
            reports=self.folder / "reports",
            roots={work.incident.id: work.root for work in self.work.values()},
        )

    def telemetry(self, up: bool, overdue: float = 0.0, dead: str = "") -> list[Sample]:
        """Five seconds of both channels, up to the coming tick."""
        first = (self.clock.now() - START).total_seconds() + 1
        lines = [
            series(TARGET, "up", [float(up)] * 5, first),
            series("rendition:ch1/aac-128", "probe_playlist_overdue_seconds", [overdue + n for n in range(5)], first)
            if overdue
            else series("rendition:ch1/aac-128", "probe_playlist_overdue_seconds", [0.0] * 5, first),
            series("rendition:ch2/aac-128", "probe_playlist_overdue_seconds", [0.0] * 5, first),
            series("channel:ch2", "sessions_playing", [6.0], first + 4),
            series("channel:ch2", "sessions_starved_ratio", [0.0], first + 4),
        ]
        parts = [e for e in two_channels().entities if e.partition(":")[0] in {"component", "edge"} and e != TARGET]
        lines += [series(part, "up", [float(part != dead)] * 5, first) for part in parts]
        if dead:
            lines.append(series(dead, "scrape_failed", [1.0] * 5, first, reason="refused"))
        if not up:
            lines.append(series(TARGET, "scrape_failed", [1.0] * 5, first, reason="refused"))
        return [sample for line in lines for sample in line]

    async def crash(self, wait: bool = True) -> None:
        """Kill the process as a fault would, and tell of it for one tick."""
        state = await self.platform.state(PROCESS)
        assert state.pid is not None
        os.kill(state.pid, signal.SIGKILL)
        while (await self.platform.state(PROCESS)).state == "RUNNING":
            await asyncio.sleep(0.02)  # until its supervisor, another process, has seen it end
        await self.tick(self.telemetry(up=False, overdue=1.0), wait)

    def only(self) -> Work:
        (work,) = self.work.values()
        return work


@pytest.fixture
async def loop(tenant: str, warehouse: Warehouse, platform: Supervisor, tmp_path: Path) -> Loop:
    settings = Settings(
        tenant=tenant,
        profile="demo",
        mail_to=("ops@radio.example",),
        smtp_url="smtp://127.0.0.1:1",
        state_dir=tmp_path / "state",
    )
    switch.install(settings.state_dir)
    return Loop(tenant, warehouse, platform, tmp_path, settings)


async def test_crash_is_diagnosed_mended_verified_and_closed(loop: Loop) -> None:
    await loop.tick(loop.telemetry(up=True))
    assert loop.work == {}
    await loop.crash()
    work = loop.only()
    assert work.causes[0].name == "component:transcoder-ch1:crash"
    assert work.incident.state is IncidentState.ACTING
    await loop.tick(loop.telemetry(up=True))
    assert (await loop.platform.state(PROCESS)).state == "RUNNING"
    for _ in range(4):
        await loop.tick(loop.telemetry(up=True))
    assert work.incident.state is IncidentState.MENDED
    assert work.verdict is not None
    assert (work.verdict.outcome, work.verdict.controlled) == (Outcome.WORKED, True)
    for _ in range(11):
        await loop.tick(loop.telemetry(up=True))
    assert work.incident.state is IncidentState.CLOSED
    assert len(loop.work) == 1
    async with loop.warehouse.as_tenant(loop.tenant) as db:
        assert "over" not in {n.incident_state for n in await notices.of_incident(loop.tenant, db, work.incident.id)}
        steps = [line.step for line in await incidents.story(loop.tenant, db, work.incident.id)]
        sent = await notices.of_incident(loop.tenant, db, work.incident.id)
        written = await audit.read(loop.tenant, db, 100)
    assert {"detect", "diagnose", "decide", "act", "verify", "notify"} <= set(steps)
    assert len({notice.thread_key for notice in sent}) == 1
    assert {"action.restart", "incident.state"} <= {line.what for line in written}
    assert sorted(path.suffix for path in (loop.folder / "reports").iterdir()) == [".html", ".md"]


async def test_part_that_fails_again_after_the_verdict_opens_the_case_again(loop: Loop) -> None:
    await loop.crash()
    for _ in range(5):
        await loop.tick(loop.telemetry(up=True))
    assert loop.only().incident.state is IncidentState.MENDED
    await loop.crash()
    for _ in range(2):
        await loop.tick(loop.telemetry(up=False, overdue=6.0))
    work = loop.only()
    assert work.incident.state is IncidentState.HANDED_OVER, "tried once, so a person decides"
    async with loop.warehouse.as_tenant(loop.tenant) as db:
        told = [n.incident_state for n in await notices.of_incident(loop.tenant, db, work.incident.id)]
    assert "handed-over" in told


async def test_handed_over_incident_closes_when_quiet_and_a_later_fault_is_another(loop: Loop) -> None:
    loop.settings = loop.settings.model_copy(update={"auto_remediation": False})
    await loop.crash()
    for _ in range(6):
        await loop.tick(loop.telemetry(up=False, overdue=6.0))
    first = loop.only()
    assert first.incident.state is IncidentState.HANDED_OVER
    assert list((loop.folder / "reports").glob("*.md")), "a hand-over is reported too"
    await loop.platform.start(PROCESS)  # a person has mended it
    answered = loop.clock.now() + timedelta(seconds=1)
    for _ in range(14):
        await loop.tick(loop.telemetry(up=True))
    assert first.incident.state is IncidentState.CLOSED
    assert first.quiet_since == answered, (
        "over with the first scrape that is answered again, not with the tick after it"
    )
    async with loop.warehouse.as_tenant(loop.tenant) as db:
        told = await notices.of_incident(loop.tenant, db, first.incident.id)
        story = await incidents.story(loop.tenant, db, first.incident.id)
    ends = [(line.time, line.what) for line in story if line.step == "close"]
    assert ends == [(first.incident.closed, "closed: nothing of it has been seen since")]
    assert [n.incident_state for n in told][-1] == "over", "who was called is told that it is over"
    assert [n.incident_state for n in told].count("over") == 1
    assert "--verdict real|false-alarm|planned" in told[-1].body, "what it was, only a person can say"
    loop.settings = loop.settings.model_copy(update={"auto_remediation": True})
    await loop.crash()
    assert len(loop.work) == 2


@pytest.mark.parametrize(
    ("silent", "listening", "expected"),
    [
        (("ch1", "ch2"), {}, "major"),  # nobody counts: of two channels both
        (("ch1",), {"channel:ch1": 2.0, "channel:ch2": 8.0}, "minor"),
        (("ch1",), {"channel:ch1": 8.0, "channel:ch2": 2.0}, "major"),
    ],
)
async def test_silence_is_as_grave_as_the_share_of_listeners_that_it_hits(
    loop: Loop, silent: tuple[str, ...], listening: dict[str, float], expected: str
) -> None:
    loop.settings = loop.settings.model_copy(update={"auto_remediation": False})
    counts = [s for channel, count in listening.items() for s in series(channel, "icecast_listeners", [count] * 5, -9)]
    async with loop.warehouse.as_tenant(loop.tenant) as db:
        await samples_kept.append(loop.tenant, db, counts)
    for _ in range(8):
        first = (loop.clock.now() - START).total_seconds() + 1
        lengths = [first + step for step in range(5)]
        lines = (series(f"rendition:{name}/aac-128", "probe_silence_seconds", lengths, first) for name in silent)
        await loop.tick([*loop.telemetry(up=True), *(sample for line in lines for sample in line)])
    works = list(loop.work.values())
    assert {work.incident.state for work in works} == {IncidentState.HANDED_OVER}
    assert expected in {work.incident.severity for work in works}
    assert max(work.incident.listener_minutes_lost for work in works) < 5.0


async def test_act_that_breaks_off_is_carried_on_and_sticks_nothing(loop: Loop) -> None:
    await loop.crash(wait=False)
    work = loop.only()
    assert work.acting is not None
    work.acting.cancel()
    with suppress(asyncio.CancelledError):
        await work.acting
    await loop.tick(loop.telemetry(up=False, overdue=6.0))  # the tick that sees that it broke off
    await loop.tick(loop.telemetry(up=False, overdue=11.0))
    for _ in range(6):
        await loop.tick(loop.telemetry(up=True))
    assert work.incident.state is IncidentState.MENDED
    assert (await loop.platform.state(PROCESS)).state == "RUNNING"


async def test_heir_asks_the_guards_again_before_it_acts(loop: Loop) -> None:
    await loop.crash(wait=False)
    dead = loop.only()
    assert dead.acting is not None
    dead.acting.cancel()
    await loop.platform.start(PROCESS)  # somebody was quicker
    running = await loop.platform.state(PROCESS)
    heir = await heir_of(loop)
    for _ in range(2):  # it asks, and takes the answer up
        await heir.tick(heir.telemetry(up=True))
    assert heir.only().incident.state is IncidentState.HANDED_OVER
    assert (await loop.platform.state(PROCESS)).pid == running.pid


async def test_part_that_somebody_stopped_is_left_alone(loop: Loop) -> None:
    await loop.platform.stop(PROCESS)
    for _ in range(6):
        await loop.tick(loop.telemetry(up=False, overdue=6.0))
    assert loop.only().causes[0].name == f"{TARGET}:planned-work"
    assert (await loop.platform.state(PROCESS)).state == "STOPPED"


async def test_switched_off_remediation_proposes_and_touches_nothing(loop: Loop) -> None:
    loop.settings = loop.settings.model_copy(update={"auto_remediation": False})
    await loop.crash()
    for _ in range(6):
        await loop.tick(loop.telemetry(up=False, overdue=6.0))
    work = loop.only()
    assert work.incident.state is IncidentState.HANDED_OVER
    assert work.action is not None
    assert work.action.state is ActionState.REFUSED
    assert (await loop.platform.state(PROCESS)).state == "EXITED"
    async with loop.warehouse.as_tenant(loop.tenant) as db:
        (told,) = await notices.of_incident(loop.tenant, db, work.incident.id)
    assert "AUTO_REMEDIATION is off" in told.body


async def test_remedy_that_brings_nothing_back_is_handed_over_as_inconclusive(loop: Loop) -> None:
    await loop.crash()
    for _ in range(22):
        await loop.tick(loop.telemetry(up=True, overdue=5.0))
    work = loop.only()
    assert work.incident.state is IncidentState.HANDED_OVER
    assert work.verdict is not None
    assert work.verdict.outcome is not Outcome.WORKED


async def test_next_watcher_does_what_the_dead_one_only_intended(loop: Loop) -> None:
    await loop.crash(wait=False)
    dead = loop.only()
    assert dead.acting is not None
    dead.acting.cancel()  # before its first step: the intent is committed, nothing was done
    heir = await heir_of(loop)
    assert heir.only().incident.state is IncidentState.ACTING
    await heir.tick(heir.telemetry(up=False, overdue=6.0))
    for _ in range(6):
        await heir.tick(heir.telemetry(up=True))
    assert heir.only().incident.state is IncidentState.MENDED
    async with heir.warehouse.as_tenant(heir.tenant) as db:
        (done,) = await actions.of_incident(heir.tenant, db, dead.incident.id)
        (verdict,) = await verdicts.of_incident(heir.tenant, db, dead.incident.id)
    assert done.state is ActionState.FINISHED
    assert verdict.action == done.key


async def test_next_watcher_does_not_repeat_what_the_dead_one_did(loop: Loop) -> None:
    await loop.crash()
    restarted = await loop.platform.state(PROCESS)
    assert restarted.state == "RUNNING"
    heir = await heir_of(loop)
    for _ in range(6):
        await heir.tick(heir.telemetry(up=True))
    assert heir.only().incident.state is IncidentState.MENDED
    assert (await loop.platform.state(PROCESS)).pid == restarted.pid


async def heir_of(loop: Loop) -> Loop:
    """Another watcher, as it finds things after the death of `loop`'s."""
    heir = Loop(loop.tenant, loop.warehouse, loop.platform, loop.folder, loop.settings, clock=loop.clock)
    await restore(heir.tenant, heir.warehouse, heir.detection, heir.clock.now())
    heir.work = await load_work(heir.tenant, heir.warehouse)
    return heir


async def test_tick_that_could_not_be_written_gives_the_same_findings_in_the_next(loop: Loop) -> None:
    loop.clock.advance(5)
    samples = loop.telemetry(up=False)
    now = at(10)
    away = Warehouse("postgresql://nobody:none@127.0.0.1:1/none")
    batch = Batch(samples, (now - timedelta(seconds=5), now), {})
    with pytest.raises(WarehouseAway):
        await tick(loop.tenant, away, loop.detection, batch, two_channels(), DEMO)
    await away.close()
    again = Batch([], (now, now), {})
    (finding,) = await tick(loop.tenant, loop.warehouse, loop.detection, again, two_channels(), DEMO)
    assert finding.symptom == "scrape-refused"
    assert loop.detection.unsaved == []


async def test_sample_that_the_warehouse_refuses_does_not_stop_the_ticks(loop: Loop) -> None:
    endless = secrets.token_hex(20_000)  # longer than an index of PostgreSQL takes
    poison = series(TARGET, endless, [1.0])
    with pytest.raises(WarehouseError):
        await loop.tick(poison)
    assert loop.detection.lost == 1
    await loop.crash()
    assert loop.only().causes[0].name == "component:transcoder-ch1:crash"


async def test_remedy_that_kills_what_lies_behind_it_is_harmful_undone_once_and_handed_over(loop: Loop) -> None:
    await loop.tick(loop.telemetry(up=True))
    await loop.crash()
    for _ in range(6):
        await loop.tick(loop.telemetry(up=True, dead="component:packager"))
    work = loop.only()
    assert work.incident.state is IncidentState.HANDED_OVER
    assert work.verdict is not None
    assert work.verdict.outcome is Outcome.HARMED
    assert (await loop.platform.state(PROCESS)).state == "STOPPED", "as little as before, and no more harm"
    for _ in range(3):
        await loop.tick(loop.telemetry(up=False, overdue=6.0))
    async with loop.warehouse.as_tenant(loop.tenant) as db:
        done = await actions.of_incident(loop.tenant, db, work.incident.id)
        told = [n.incident_state for n in await notices.of_incident(loop.tenant, db, work.incident.id)]
    assert [(a.runbook, a.state) for a in done] == [
        ("restart", ActionState.FINISHED),
        ("undo-restart", ActionState.FINISHED),
    ]
    assert told.count("handed-over") == 1


async def test_heir_finishes_what_the_dead_one_half_did(loop: Loop) -> None:
    await loop.crash(wait=False)
    dead = loop.only()
    assert dead.acting is not None
    dead.acting.cancel()
    assert dead.action is not None
    async with loop.warehouse.as_tenant(loop.tenant) as db:
        begun = replace(dead.action, state=ActionState.STARTED, started=loop.clock.now())
        assert await actions.update(loop.tenant, db, begun)
    await loop.platform.start(PROCESS)
    await loop.platform.stop(PROCESS)  # as if it had died between the stop and the start of its restart
    heir = await heir_of(loop)
    await heir.tick(heir.telemetry(up=False, overdue=6.0))
    for _ in range(6):
        await heir.tick(heir.telemetry(up=True))
    assert heir.only().incident.state is IncidentState.MENDED
    assert (await loop.platform.state(PROCESS)).state == "RUNNING"


async def test_switch_that_is_turned_off_stops_an_intent(loop: Loop) -> None:
    await loop.crash(wait=False)
    work = loop.only()
    assert work.acting is not None
    work.acting.cancel()
    switch.turn(loop.settings.state_dir, on=False)
    for _ in range(3):
        await loop.tick(loop.telemetry(up=False, overdue=6.0))
    assert work.incident.state is IncidentState.HANDED_OVER
    assert (await loop.platform.state(PROCESS)).state == "EXITED"


async def test_proposal_that_a_person_approves_is_carried_out_and_a_veto_keeps_it_from_that(loop: Loop) -> None:
    await loop.crash()  # to have something that was mended, so that nothing but the grant is missing below
    for _ in range(17):
        await loop.tick(loop.telemetry(up=True))
    loop.work.clear()
    loop.profile = DEMO.model_copy(update={"grants": ()})
    await loop.crash()
    for _ in range(6):
        await loop.tick(loop.telemetry(up=False, overdue=6.0))
    work = loop.only()
    assert work.incident.state is IncidentState.HANDED_OVER
    assert work.action is not None
    yes = Approval(
        id="yes",
        action=work.action.key,
        requester="tonewatch",
        approver="anna",
        reason="it is only a transcoder",
        approved=loop.clock.now(),
        expires=loop.clock.now() + timedelta(minutes=15),
    )
    said = Label("said", "action", work.action.key, "approve", "anna", "it is only a transcoder", loop.clock.now())
    async with loop.warehouse.as_tenant(loop.tenant) as db:
        await approvals.put(loop.tenant, db, yes)
        await labels.put(loop.tenant, db, [said])
        told = [n.incident_state for n in await notices.of_incident(loop.tenant, db, work.incident.id)]
    assert "proposed" in told
    await loop.tick(loop.telemetry(up=False, overdue=30.0))
    for _ in range(6):
        await loop.tick(loop.telemetry(up=True))
    assert work.incident.state is IncidentState.MENDED
    async with loop.warehouse.as_tenant(loop.tenant) as db:
        (done,) = await actions.of_incident(loop.tenant, db, work.incident.id)
    assert (done.state, done.parameters["approved_by"]) == (ActionState.FINISHED, "anna")
