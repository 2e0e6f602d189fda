"""Injecting and healing faults on a running soundstage, and the ground truth of what was done."""

from __future__ import annotations

import contextlib
import json
import random
import secrets
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from soundstage.errors import FaultError, NotRunning, SoundstageError, Unreachable
from soundstage.faults import registry
from soundstage.faults.base import Fault, Stage
from soundstage.supervision import Supervisor

TRUTH_FILE = "truth.jsonl"


@contextlib.contextmanager
def open_stage(folder: Path, seed: int) -> Iterator[Stage]:
    """The handle of the soundstage that runs in `folder`; raises NotRunning or Unreachable."""
    try:
        announced = json.loads((folder / "stage.json").read_text())
    except (OSError, ValueError) as error:
        raise NotRunning(
            f"no soundstage is on air in {folder}; start one with `python -m soundstage run --dir {folder}`"
        ) from error
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        try:
            inventory = client.get(announced["inventory_url"]).raise_for_status().json()
        except httpx.HTTPError as error:
            raise Unreachable(f"the soundstage in {folder} does not answer: {error}") from error
        supervisor = Supervisor(announced["supervisor_url"])
        rng = random.Random(seed)  # noqa: S311 - a repeatable choice
        yield Stage(folder, inventory, seed, rng, supervisor, client, announced)


def _call(fault: Fault, step: str, *arguments: Any) -> Any:
    """Call a step of a fault, which may be a stranger's; raises FaultError with what it raised."""
    try:
        return getattr(fault, step)(*arguments)
    except SoundstageError:
        raise
    except Exception as error:  # broad: a stranger's fault may raise anything; its author needs the reason
        raise FaultError(f"fault '{fault.name}': {step} raised {type(error).__name__}: {error}") from error


def _find(name: str, outside: Path | None) -> type[Fault]:
    faults = registry.load(outside)
    if name not in faults:
        raise FaultError(f"no fault '{name}'; known are: {', '.join(sorted(faults))}")
    return faults[name]


def _append(folder: Path, record: dict[str, Any]) -> None:
    with (folder / TRUTH_FILE).open("a") as file:
        file.write(json.dumps(record) + "\n")


def inject(name: str, folder: Path, outside: Path | None = None, seed: int = 1) -> dict[str, Any]:
    """Let a fault happen; returns its truth, which is also appended to truth.jsonl. Raises SoundstageError."""
    fault = _find(name, outside)()
    with open_stage(folder, seed) as stage:
        injected = datetime.now(UTC)
        _call(fault, "inject", stage)
        try:
            truth = registry.check_truth(fault, _call(fault, "truth"))
            remembered = {"seed": seed, "memory": fault.memory, "faults_from": str(outside) if outside else None}
            record = {
                "id": f"{name}-{secrets.token_hex(4)}",
                "name": name,
                "is_fault": fault.is_fault,
                **asdict(truth),
                "injected": injected.isoformat(),
            }
            _append(folder, {**record, **remembered})
        except (FaultError, TypeError) as error:
            # What nobody can be told the truth about must not stay on the platform.
            with contextlib.suppress(SoundstageError):
                _call(fault, "heal", stage)
            raise error if isinstance(error, FaultError) else FaultError(f"fault '{name}': {error}") from error
    return record


def truths(folder: Path) -> dict[str, dict[str, Any]]:
    """Every injected fault of `folder` by id, in order; one that was healed carries "healed"."""
    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / TRUTH_FILE).read_text().splitlines():
            record = json.loads(line)
            found.setdefault(record["id"], {}).update(record)
    return found


def find(identifier: str, folder: Path) -> dict[str, Any]:
    """One injected fault; raises NotRunning when there is none of that id."""
    known = truths(folder)
    if identifier not in known:
        raise NotRunning(f"no fault '{identifier}' was injected in {folder}; known are: {', '.join(known) or 'none'}")
    return known[identifier]


def heal(identifier: str, folder: Path) -> dict[str, Any]:
    """Take a fault away; returns {"id", "healed"}. Raises SoundstageError."""
    record = find(identifier, folder)
    outside = Path(record["faults_from"]) if record["faults_from"] else None
    fault = _find(record["name"], outside)()
    fault.memory = record["memory"]
    with open_stage(folder, record["seed"]) as stage:
        _call(fault, "heal", stage)
    healed = {"id": identifier, "healed": datetime.now(UTC).isoformat()}
    _append(folder, healed)
    return healed
