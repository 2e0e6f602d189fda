"""Real incidents as cases: a soundstage with every fault, each of which is recorded with what is true of it.

`make recorded ARGS="--seed 11 --seed 12"` runs the demo with all faults per seed (some 17 minutes each) and adds a
case for each to the library; what is no fault is a calm period. `make bench NAME=replay` replays the library.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from console.commands import run as run_with
from tasks.keep import keep
from tests.campaign.replayed import PROFILE, TENANT, Demo
from tonewatch.cases import RECORDING, Case, Expected, write_case
from tonewatch.settings import load_profile
from warehouse.database import Warehouse

LIBRARY = Path(__file__).resolve().parents[1] / "cases"
#: What is kept around a fault: two windows of the models before, and until its echoes are over.
BEFORE, AFTER = timedelta(seconds=75), timedelta(seconds=45)
#: The demo with everything takes some twenty minutes.
PATIENCE_S = 2_700.0


def record(seed: int, library: Path) -> list[Case]:
    """One demo with all faults; its cases. Raises SystemExit: it gave no result."""
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-recorded-"))
    folder.chmod(0o711)  # the embedded database of a root's run belongs to another user
    demo = Demo(folder, 0.0, "all", seed, PATIENCE_S)
    try:
        truth = Path(demo.wait()["paths"]["soundstage"]) / "truth.jsonl"
        return keep_cases(demo.state, truth, library, seed)
    finally:
        demo.close()
        shutil.rmtree(folder, ignore_errors=True)


def keep_cases(state: Path, truth: Path, library: Path, seed: int) -> list[Case]:
    """A case for each fault that the soundstage tells of, from what the stack at `state` has stored."""

    async def work(warehouse: Warehouse) -> list[Case]:
        return [await _keep(warehouse, told, library / f"{told['name']}-{seed}") for told in _truths(truth)]

    return run_with(state, work)


async def _keep(warehouse: Warehouse, told: dict[str, Any], folder: Path) -> Case:
    onset, healed = (datetime.fromisoformat(told[name]) for name in ("injected", "healed"))
    await keep(TENANT, warehouse, onset - BEFORE, healed + AFTER, folder / RECORDING, lambda _: None)
    parts = tuple(dict.fromkeys([told["entity"], *told["path"]]))
    expected = Expected(onset, healed, parts, told["cause"] or "") if told["is_fault"] else None
    return write_case(folder, "soundstage", load_profile(PROFILE), expected)


def _truths(file: Path) -> Iterator[dict[str, Any]]:
    """Every fault that was injected and healed, in order."""
    found: dict[str, dict[str, Any]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        found.setdefault(told["id"], {}).update(told)
    yield from (told for told in found.values() if "healed" in told)


def main() -> int:
    """Record the seeds, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seed", type=int, action="append", help="of soundstage and faults; again for more (default 1)"
    )
    parser.add_argument("--out", type=Path, default=LIBRARY, help="the library (default tests/cases)")
    options = parser.parse_args()
    for seed in options.seed or [1]:
        for case in record(seed, options.out):
            print(f"{case.folder}: {'calm' if case.expected is None else case.expected.cause}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
