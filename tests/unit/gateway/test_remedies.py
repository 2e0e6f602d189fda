from __future__ import annotations

from dataclasses import dataclass, field

from gateway.platforms import ProcessState
from gateway.platforms.remedies import Drain, Restart, Rollback, SwitchInput, Undo, bound
from gateway.sources.inventory import Inventory

PLACE = "http://127.0.0.1:1"
SOURCES = {"primary": "component:source-ch1-primary", "backup": "component:source-ch1-backup"}


def component(name: str, stage: str, **more: object) -> dict[str, object]:
    return {"id": name, "stage": stage, "process": name.partition(":")[2], "metrics_url": f"{PLACE}/metrics", **more}


def platform(**more: object) -> Inventory:
    inputs = {"url": f"{PLACE}/input", "values": ["primary", "backup"], "sources": SOURCES}
    parts = [component(name, "source") for name in SOURCES.values()]
    parts.append(component("component:ingest-ch1", "ingest", inputs=inputs))
    parts.append(component("component:packager", "package", versions={"url": f"{PLACE}/version"}))
    parts.append(component("edge:edge-1", "edge"))
    told = {
        "platform": "test",
        "segment_seconds": 2,
        "components": parts,
        "origin": {"id": "component:origin", "base_url": PLACE},
        "edges": [{"id": "edge:edge-1", "base_url": PLACE}],
        "routing": {"url": f"{PLACE}/routing"},
    }
    return Inventory.model_validate(told | more)


@dataclass
class Processes:
    """A supervisor of one process, in memory: what remedies ask of it is all there is."""

    state_now: str = "EXITED"
    pid: int = 7
    deeds: list[str] = field(default_factory=list)

    async def state(self, process: str) -> ProcessState:
        return ProcessState(process, self.state_now, self.pid if self.state_now == "RUNNING" else None)

    async def _to(self, process: str, deed: str, state: str) -> ProcessState:
        self.deeds.append(deed)
        self.state_now, self.pid = state, self.pid + 1
        return await self.state(process)

    async def start(self, process: str) -> ProcessState:
        return await self._to(process, "start", "RUNNING")

    async def stop(self, process: str) -> ProcessState:
        return await self._to(process, "stop", "STOPPED")

    async def restart(self, process: str) -> ProcessState:
        return await self._to(process, "restart", "RUNNING")

    async def kill_and_restart(self, process: str) -> ProcessState:
        return await self._to(process, "kill", "RUNNING")


def test_remedies_are_bound_to_what_the_inventory_gives_means_for() -> None:
    controls = object()
    given: list[tuple[str, str, type]] = [
        ("restart", "edge:edge-1", Restart),
        ("switch-input", SOURCES["primary"], SwitchInput),
        ("rollback", "component:packager", Rollback),
        ("drain", "edge:edge-1", Drain),
    ]
    for runbook, target, kind in given:
        assert isinstance(bound(runbook, target, platform(), Processes(), controls), kind)  # type: ignore[arg-type]


def test_remedy_without_means_is_none() -> None:
    assert bound("drain", "edge:edge-1", platform(routing=None), Processes(), None) is None
    assert bound("rollback", "edge:edge-1", platform(), Processes(), None) is None
    assert bound("restart", "component:unknown", platform(), Processes(), None) is None
    assert bound("dance", "edge:edge-1", platform(), Processes(), None) is None


async def test_restart_of_what_ended_is_done_when_it_runs_and_undone_by_a_stop() -> None:
    processes = Processes()
    remedy = Restart(processes, "p")
    before = await remedy.look()
    assert (before.done, before.prior) == (False, "EXITED")
    await remedy.do()
    assert (await remedy.look()).done
    await remedy.undo(before.prior)
    assert processes.deeds == ["restart", "stop"]


async def test_what_hangs_runs_and_so_is_never_taken_for_mended() -> None:
    assert not (await Restart(Processes("RUNNING"), "p", by_force=True).look()).done


async def test_undo_is_done_once_the_target_is_as_it_was() -> None:
    processes = Processes("RUNNING")
    undo = Undo(Restart(processes, "p"), "STOPPED")
    assert not (await undo.look()).done
    await undo.do()
    assert (await undo.look()).done
