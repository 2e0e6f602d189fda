"""The demo with all seven faults and the three that are none, one seed after the other; each seed's result is kept.

`make faults ARGS="--seed 1 --seed 2 --seed 3"` takes some twenty minutes a seed and writes docs/results/faults.json and
its page; a seed that is run again takes the place of its last result. A run with more than 5 % starved seconds is void
and written nowhere.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.campaign.calm import RESULTS, ROOT, commit

VOID_SHARE = 0.05
GOAL_S, MUST_S = 30, 60


def run(seed: int) -> dict[str, Any]:
    """One demo with everything; its result. Raises SystemExit: it gave none."""
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-faults-"))
    folder.chmod(0o711)  # the embedded database of a root's run belongs to another user
    result = folder / "result.json"
    command = [sys.executable, "-m", "console.cli", "demo", "--faults", "all", "--seed", str(seed)]
    command += ["--out", str(folder / "out"), "--json", str(result), "--state-dir", str(folder / "state")]
    (folder / "state").mkdir(mode=0o711)
    began = time.monotonic()
    try:
        status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
        if not result.exists():
            raise SystemExit(f"the demo gave no result (status {status})")
        told: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    kept = ("faults", "false_incidents", "host_starved_s", "memory_mib", "started_s")
    seconds = time.monotonic() - began
    return {
        **{name: told.get(name) for name in kept},
        "status": status,
        "seconds": round(seconds),
        "void": float(told["host_starved_s"]) > VOID_SHARE * seconds,
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def write(folder: Path, seed: int, fresh: dict[str, Any]) -> dict[str, Any]:
    """Put the seed's result into faults.json and write its page anew."""
    file = folder / "faults.json"
    seeds = json.loads(file.read_text(encoding="utf-8")).get("seeds", {}) if file.exists() else {}
    seeds = dict(sorted({**seeds, str(seed): fresh}.items()))
    worst: dict[str, float] = {}
    for each in seeds.values():
        for fault in each["faults"]:
            if fault["is_fault"] and fault["impact_ended_s"] is not None:
                worst[fault["name"]] = max(worst.get(fault["name"], 0.0), fault["impact_ended_s"])
    record = {
        "figures": {
            "worst_impact_ended_s": worst,
            "false_incidents": sum(each["false_incidents"] for each in seeds.values()),
            "failures": {
                f"seed {number}, {fault['name']}": fault["failures"]
                for number, each in seeds.items()
                for fault in each["faults"]
                if fault["failures"]
            },
        },
        "seeds": seeds,
        "baselines": {"without Tonewatch": "nothing restarts by itself: what breaks stays broken"},
        "goals": {"impact_ended_s": f"must be at most {MUST_S}, goal {GOAL_S}", "false_incidents": 0, "failures": 0},
        "data": 'soundstage, 2 channels, 20 players, real time; make demo ARGS="--faults all --seed N"',
        "seed": sorted(map(int, seeds)),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / "faults.md").write_text(page(record), encoding="utf-8")
    return record


def page(record: dict[str, Any]) -> str:
    """The same for people."""
    figures = record["figures"]
    lines = [
        "# Seven faults and three that are none",
        "",
        f"{record['data']}; {record['machine']}; {record['date']}. Made by `make faults`.",
        "",
        f"Worst impact, seconds from its injection: {figures['worst_impact_ended_s']}; must be at most {MUST_S}, goal "
        f"{GOAL_S}. Incidents that were none: {figures['false_incidents']}.",
    ]
    for number, each in record["seeds"].items():
        lines += ["", f"## Seed {number}", ""]
        lines += [f"Commit {each['commit']}, {each['date']}; host starved for {each['host_starved_s']:g} s of it.", ""]
        lines += ["| fault | detected s | cause named | remedy | impact ended s | verdict | listener-minutes lost |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_row(fault) for fault in each["faults"]]
        failed = [
            f"- `{fault['name']}`: {'; '.join(fault['failures'])}" for fault in each["faults"] if fault["failures"]
        ]
        lines += ["", *failed] if failed else []
    return "\n".join(lines) + "\n"


def _row(fault: dict[str, Any]) -> str:
    verdict = str(fault.get("verdict") or "none")
    if verdict != "none":
        verdict += " (controlled)" if fault.get("controlled") else " (uncontrolled)"
    cells = [fault["name"]]
    cells += [fault.get(name) for name in ("detected_s", "cause_named", "action", "impact_ended_s")]
    cells += [verdict, fault.get("listener_minutes_lost")]
    return "| " + " | ".join("-" if cell is None else str(cell) for cell in cells) + " |"


def main() -> int:
    """Run each seed; 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, action="append", help="may be given again (default: 1, 2 and 3)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of faults.json and faults.md")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    failed = False
    for seed in options.seed or (1, 2, 3):
        fresh = run(seed)
        if fresh["void"]:
            print(f"seed {seed}: void, the machine was starved for {fresh['host_starved_s']:g} s; run it again")
            failed = True
            continue
        record = write(options.out, seed, fresh)
        print(json.dumps(record["figures"], indent=1))
        failed = failed or fresh["status"] != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
