"""Remedies bound to what they act on: each looks first, does one thing, and can say what would take it back.

`look` costs nothing and changes nothing. `do` raises PlatformError (refused, nothing was done) and OutcomeUnknown (it
broke off after it was sent: look, never repeat blindly).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from gateway.platforms import Platform, ProcessState
from gateway.platforms.controls import Controls
from gateway.sources.inventory import Inventory

_RUNS = "RUNNING"


@dataclass(frozen=True, slots=True)
class Look:
    """How the target is. `done`: what the remedy brings about is there already; `prior`: what undo goes back to.

    Of the facts below only those are set that the remedy has to do with.
    """

    done: bool
    prior: str
    words: str
    process: ProcessState | None = None
    input: str | None = None
    own_input: str | None = None
    inputs: tuple[str, ...] = ()
    running: str | None = None
    previous: str | None = None
    drained: frozenset[str] | None = None


class Remedy(Protocol):
    """One runbook on one target."""

    async def look(self) -> Look:
        """How the target is now. Raises PlatformError."""
        ...

    async def do(self, wanted: str = "") -> str:
        """Do it, towards `wanted` if that was decided before; what came of it in words."""
        ...

    async def undo(self, prior: str) -> str:
        """Go back to `prior`, as a look before the deed told it; what came of it in words."""
        ...


@dataclass(frozen=True, slots=True)
class Restart:
    """A process is brought up again; `by_force`: what hangs is killed first. Undone, it is stopped."""

    platform: Platform
    process: str
    by_force: bool = False

    async def look(self) -> Look:
        """How the process is. What hangs runs as well: there only another process than before is a mended one."""
        found = await self.platform.state(self.process)
        return Look(found.state == _RUNS and not self.by_force, found.state, f"{self.process} is {found.state}", found)

    async def do(self, wanted: str = "") -> str:
        """Bring up a new process."""
        bring_up = self.platform.kill_and_restart if self.by_force else self.platform.restart
        found = await bring_up(self.process)
        return f"{self.process} is {found.state}"

    async def undo(self, prior: str) -> str:
        """Stop it: it gave nothing before either."""
        found = await self.platform.stop(self.process)
        return f"{self.process} is {found.state}, as little use as before (it was {prior})"


@dataclass(frozen=True, slots=True)
class SwitchInput:
    """An ingest takes another of its inputs than the one that is silent."""

    controls: Controls
    url: str
    own: str
    inputs: tuple[str, ...]

    async def look(self) -> Look:
        """Which input is taken."""
        taken = await self.controls.read_input(self.url)
        words = f"input {taken} is taken"
        return Look(taken != self.own, taken, words, input=taken, own_input=self.own, inputs=self.inputs)

    async def do(self, wanted: str = "") -> str:
        """Switch to the first other input."""
        other = wanted or next(name for name in self.inputs if name != self.own)
        await self.controls.switch_input(self.url, other)
        return f"input {other} is taken instead of {self.own}"

    async def undo(self, prior: str) -> str:
        """Switch back."""
        await self.controls.switch_input(self.url, prior)
        return f"input {prior} is taken again"


@dataclass(frozen=True, slots=True)
class Rollback:
    """The version of the configuration that ran before runs again."""

    controls: Controls
    url: str

    async def look(self) -> Look:
        """Which version runs. That it was rolled back is seen by who knows which version was meant."""
        found = await self.controls.versions(self.url)
        words = f"version {found.running} runs"
        return Look(False, found.running, words, running=found.running, previous=found.previous)

    async def do(self, wanted: str = "") -> str:
        """Run the version before, or `wanted`."""
        version = wanted or (await self.controls.versions(self.url)).previous or ""
        found = await self.controls.run_version(self.url, version)
        return f"version {found.running} runs"

    async def undo(self, prior: str) -> str:
        """Run the later version again."""
        found = await self.controls.run_version(self.url, prior)
        return f"version {found.running} runs again"


@dataclass(frozen=True, slots=True)
class Drain:
    """No listener is sent to an edge, and those on it go to another."""

    controls: Controls
    url: str
    edge: str

    async def look(self) -> Look:
        """Which edges are drained."""
        drained = await self.controls.drained(self.url)
        done = self.edge in drained
        words = f"{self.edge} is {'drained' if done else 'in use'}"
        return Look(done, "drained" if done else "in use", words, drained=drained)

    async def do(self, wanted: str = "") -> str:
        """Drain it."""
        await self.controls.drain(self.url, self.edge)
        return f"{self.edge} is drained"

    async def undo(self, prior: str) -> str:
        """Admit it again."""
        await self.controls.admit(self.url, self.edge)
        return f"{self.edge} is admitted again"


@dataclass(frozen=True, slots=True)
class Undo:
    """What another remedy did is taken back: the same target, looked at in the same way."""

    remedy: Remedy
    prior: str

    async def look(self) -> Look:
        """How the target is; done when it is as it was before."""
        found = await self.remedy.look()
        return replace(found, done=found.prior == self.prior)

    async def do(self, wanted: str = "") -> str:
        """Go back."""
        return await self.remedy.undo(self.prior)

    async def undo(self, prior: str) -> str:
        """An undo is not undone."""
        return f"left as it is ({prior})"


def bound(
    runbook: str, target: str, inventory: Inventory | None, platform: Platform | None, controls: Controls | None
) -> Remedy | None:
    """The remedy `runbook` for `target`; None: the platform gives no means for it."""
    if inventory is None:
        return None
    match runbook:
        case "restart" | "kill-and-restart":
            process = inventory.processes.get(target)
            known = platform is not None and process is not None
            return Restart(platform, process, runbook == "kill-and-restart") if known else None  # type: ignore[arg-type]
        case "switch-input":
            place = inventory.input_of(target)
            if place is None or controls is None:
                return None
            inputs = inventory.inputs[place[0]]
            return SwitchInput(controls, inputs.url, place[1], inputs.values)
        case "rollback":
            url = inventory.versions.get(target)
            return Rollback(controls, url) if url and controls is not None else None
        case "drain":
            listed = target in {edge.id for edge in inventory.edges}
            return Drain(controls, inventory.routing, target) if listed and inventory.routing and controls else None
    return None
