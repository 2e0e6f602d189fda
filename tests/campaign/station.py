"""One real radio station watched by the stack of the profile `station`: memory part by part, no false incident, and at
the end a silence that must be mailed within 15 s of reaching its configured length.

Debian's icecast2 and liquidsoap play; `tonewatch connect icecast` connects them. `make station ARGS="--minutes 60"`
writes docs/results/station.json and its page.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from console.commands import run as run_with
from console.demo.mailbox import Mailbox
from console.stack.lifecycle import status
from tests.campaign.calm import RESULTS, ROOT, Points, commit, slope
from tests.integration.station import ICECAST, LIQUIDSOAP, RadioStation, on_air
from tonewatch.clock import SYSTEM
from tonewatch.settings import Settings
from warehouse import samples
from warehouse.database import Warehouse
from warehouse.weekly import opened

TENANT = "radio"
SAMPLE_SECONDS = 15.0
SILENCE_S = 10.0
MAIL_S = 15.0
MEMORY_MIB = 1024.0
#: After this the mail is not waited for any longer.
PATIENCE_S = 90.0


class Stack:
    """`tonewatch up` with the profile station, in a folder of its own."""

    def __init__(self, folder: Path, mailbox: Mailbox) -> None:
        self.state = folder / "state"
        self.state.mkdir(mode=0o711)
        self.memory: dict[str, Points] = defaultdict(list)
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("TONEWATCH_")} | {
            "TONEWATCH_STATE_DIR": str(self.state),
            "TONEWATCH_PROFILE": "station",
            "TONEWATCH_TENANT": TENANT,
            "TONEWATCH_SMTP_URL": mailbox.url,
            "TONEWATCH_MAIL_TO": "studio@radio.example",
        }

    def tonewatch(self, *words: str) -> str:
        """What a command said; it must end well."""
        command = [sys.executable, "-m", "console.cli", *words]
        told = subprocess.run(
            command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            check=True,
        )  # fmt: skip
        return told.stdout

    def weigh(self, at: float) -> float:
        """Note the memory (PSS, MiB) of everything that `up` started, the supervisor included; the sum."""
        found = status(Settings(state_dir=self.state))
        sizes = {part.name: part.memory_mib for part in found.parts if part.memory_mib is not None}
        for part, size in {**sizes, "all": sum(sizes.values())}.items():
            self.memory[part].append((at, size))
        return sum(sizes.values())

    def incidents(self) -> list[tuple[str, datetime]]:
        """Title and opening of every incident, the first first."""

        async def ask(warehouse: Warehouse) -> list[tuple[str, datetime]]:
            async with warehouse.as_tenant(TENANT) as db:
                now = SYSTEM.now()
                found = await opened(TENANT, db, now - timedelta(days=7), now + timedelta(minutes=1))
            return sorted(((each.title, each.opened) for each in found), key=lambda each: each[1])

        return run_with(self.state, ask)

    def starved_s(self) -> float:
        """Seconds in which this machine let the watcher not run."""

        async def ask(warehouse: Warehouse) -> float:
            now = SYSTEM.now()
            async with warehouse.as_tenant(TENANT) as db:
                told = await samples.read(TENANT, db, now - timedelta(days=1), now, metrics=["host_starved_seconds"])
            return sum(sample.value for sample in told)

        return run_with(self.state, ask)


def run(minutes: float) -> dict[str, Any]:
    """The whole: what it weighed, what was opened, how long the silence took to be mailed."""
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-station-"))
    folder.chmod(0o711)
    try:
        with Mailbox(folder / "mail") as mailbox, on_air() as radio:
            stack = Stack(folder, mailbox)
            try:
                stack.tonewatch("up")
                return _watched(stack, radio, mailbox, minutes)
            finally:
                stack.tonewatch("down")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _watched(stack: Stack, radio: RadioStation, mailbox: Mailbox, minutes: float) -> dict[str, Any]:
    began = time.monotonic()
    stack.tonewatch("connect", "icecast", radio.url, "--yes", "--json")
    connected_s = time.monotonic() - began
    print(f"  connected after {connected_s:.1f} s", flush=True)
    began = time.monotonic()
    while (left := minutes * 60 - (time.monotonic() - began)) > 0:
        whole = stack.weigh(time.monotonic() - began)
        print(f"  [{time.monotonic() - began:5.0f} s] {whole:.0f} MiB", flush=True)
        time.sleep(min(SAMPLE_SECONDS, left))  # measured by the clock: nothing happens that could be awaited
    before = len(mailbox.messages())
    silent = datetime.now(UTC)
    _tell(radio, silent=True)
    mailed = _mailed(mailbox, before)
    reached = silent + timedelta(seconds=SILENCE_S)
    stack.weigh(time.monotonic() - began)
    found = stack.incidents()
    false = [title for title, opened in found if opened < silent]
    return {
        "minutes": minutes,
        "connect_s": round(connected_s, 1),
        "memory": {part: _size(points) for part, points in stack.memory.items()},
        "false_incidents": len(false),
        "false_titles": false,
        "silence": [title for title, opened in found if opened >= silent],
        "mailed_after_s": round((mailed - reached).total_seconds(), 2) if mailed else None,
        "starved_s": round(stack.starved_s(), 1),
        "commit": commit(),
    }


def _tell(radio: RadioStation, silent: bool) -> None:
    asyncio.run(radio.fall_silent(silent))


def _mailed(mailbox: Mailbox, before: int) -> datetime | None:
    """When the first mail after the first `before` was kept; None: none came."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        kept = sorted(mailbox.folder.glob("*.eml"))
        if len(kept) > before:
            return datetime.fromtimestamp(kept[before].stat().st_mtime, UTC)
        time.sleep(0.1)  # the mailbox keeps what comes, and tells nobody
    return None


def _size(points: Points) -> dict[str, float]:
    return {
        "first_mib": round(points[0][1], 1),
        "last_mib": round(points[-1][1], 1),
        "most_mib": round(max(size for _, size in points), 1),
        "mib_per_hour": slope(points[len(points) // 4 :]),
    }


def write(folder: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """Write station.json and its page."""
    record = {
        "figures": {
            "memory_mib": fresh["memory"]["all"]["most_mib"],
            "mailed_after_s": fresh["mailed_after_s"],
            "false_incidents": fresh["false_incidents"],
            "minutes": fresh["minutes"],
            "starved_s": fresh["starved_s"],
        },
        "run": fresh,
        "baselines": {},
        "goals": {
            "memory_mib": f"must be at most {MEMORY_MIB:g}",
            "mailed_after_s": f"must be at most {MAIL_S:g}, counted from when the silence has lasted {SILENCE_S:g} s",
            "false_incidents": 0,
        },
        "data": "Debian's icecast2 and liquidsoap: a tone as MP3 128 kbit/s and Opus 64 kbit/s, in real time",
        "seed": None,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "station.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / "station.md").write_text(page(record), encoding="utf-8")
    return record


def page(record: dict[str, Any]) -> str:
    """The same for people."""
    told, ran = record["figures"], record["run"]
    lines = ["# Station", "", f"{record['data']}; {record['machine']}; {record['date']}. Made by `make station`.", ""]
    lines += ["| figure | value | goal |", "|---|---|---|"]
    for name, value in told.items():
        lines.append(f"| {name} | {value} | {record['goals'].get(name, '')} |")
    lines += [
        "",
        f"Connected after {ran['connect_s']} s. Opened before the silence: {ran['false_titles'] or 'nothing'}.",
    ]
    lines += ["", "Memory (PSS, MiB) of everything that `tonewatch up` started, children included.", ""]
    lines += ["| part | first | last | most | growth an hour |", "|---|---|---|---|---|"]
    for part, figure in ran["memory"].items():
        lines.append(f"| {part} | " + " | ".join(f"{size:g}" for size in figure.values()) + " |")
    return "\n".join(lines) + "\n"


def kept(figures: dict[str, Any]) -> bool:
    """Whether every promise was."""
    mailed = figures["mailed_after_s"]
    return (
        figures["memory_mib"] <= MEMORY_MIB
        and figures["false_incidents"] == 0
        and mailed is not None
        and mailed <= MAIL_S
    )


def main() -> int:
    """Run it; 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long before the silence (default 60)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of station.json and station.md")
    options = parser.parse_args()
    if ICECAST is None or LIQUIDSOAP is None:
        parser.error("icecast2 and liquidsoap are not installed here")
    record = write(options.out, run(options.minutes))
    print(json.dumps(record["figures"], indent=1))
    return int(not kept(record["figures"]))


if __name__ == "__main__":
    sys.exit(main())
