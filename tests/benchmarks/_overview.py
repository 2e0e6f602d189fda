"""Pages that gather what several benchmarks told: figures beside goals, data, seed and baselines of the same run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Of each page: its title, what it says first, and (benchmark, what it asks, figures that answer it).
PAGES: Mapping[str, tuple[str, str, Sequence[tuple[str, str, Sequence[str]]]]] = {
    "detection": (
        "Detection",
        "Everything that is measured of detectors, features and the simulator, each beside its goal and what was run "
        "beside it. Thresholds and models are chosen on training or calibration data only; choices on development "
        "seeds that are reported nowhere. Each page says how, and what falls short.",
        (
            ("nab", "Single series, streaming", ("standard_2fold", "low_fp_2fold", "standard_official", "clockwork")),
            ("smd", "Many series of a machine", ("auc_pr_gain", "vus_pr_gain", "f1_gain", "f1_auto")),
            ("asd", "The same on other machines", ("auc_pr_gain", "vus_pr_gain", "f1_gain", "f1_auto")),
            ("budget", "Pages and recall at one page a week", ("weeks_within", "pages_per_week", "recall", "delay_s")),
            ("scoring", "Speed and state", ("evaluations_per_s", "state_bytes")),
            ("features", "Feature store", ("join_ratio_feast", "join_ratio_feast_duckdb", "online_p99_ms")),
            ("replayed", "A recorded hour replayed", ("same_hash", "replays", "findings")),
            ("ablation", "What each part adds", ("auc_pr_test", "vus_pr_test", "f1_auto_test")),
        ),
    ),
    "mlops": (
        "Models that look after themselves",
        "Everything that is measured of training, validation, promotion, drift, labels, lineage and the replay gate, "
        "each beside its goal. Each page says how, and what falls short.",
        (
            ("lifecycle", "From drift to promotion, unattended", ()),
            (
                "lifecycle_live",
                "The same on the live soundstage",
                (
                    *("steps", "drift_days", "promotion_days", "pages_week_calm", "pages_week_drifted"),
                    *("pages_week_after", "sabotage_answer", "sabotage_promoted", "starved_share"),
                ),
            ),
            ("ab", "Validation in A/B", ("aa_wrong_verdicts", "power")),
            ("drift", "Drift", ("planted_found", "false_per_month")),
            ("replay", "The replay gate", ("bit_exact", "cases", "incidents", "real", "planted", "planted_refused")),
            ("labels", "Labels", ("lift", "poison_passed")),
            ("lineage", "Lineage", ("query_s",)),
            ("kinds", "Kinds of family model", ("recall",)),
            ("search", "Searching for settings", ("gain",)),
            ("swap", "Hot swaps under load", ("swaps", "taken_up", "kills", "ticks", "dropped", "half_loaded")),
        ),
    ),
}

#: What no benchmark measures but a campaign, by its target.
CAMPAIGNS: Mapping[str, str] = {"replayed": "replayed", "lifecycle_live": "learned"}


def write(folder: Path) -> None:
    """Write each page of which any benchmark's result lies in `folder`."""
    for name in PAGES:
        text = page(name, folder)
        if text is not None:
            (folder / f"{name}.md").write_text(text, encoding="utf-8")


def page(name: str, folder: Path) -> str | None:
    """A page; None: nothing of it was measured yet."""
    title, first, parts = PAGES[name]
    told = [(each, asks, keys, _read(folder / f"{each}.json")) for each, asks, keys in parts]
    if not any(result for *_, result in told):
        return None
    lines = [f"# {title}", "", first, "", "| what | figures | must and goal | page |", "|---|---|---|---|"]
    for each, asks, keys, result in told:
        if result is not None:
            figures = {key: value for key, value in result["figures"].items() if key in keys or not keys}
            cells = [asks, _words(figures), _words(result["goals"]), f"[{each}]({each}.md)"]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    missing = [each for each, *_, result in told if result is None]
    lines += ["", f"Not measured yet: {', '.join(missing)}."] if missing else []
    for each, asks, _, result in told:
        if result is not None:
            lines += ["", f"## {asks}", "", *_about(each, result)]
    return "\n".join(lines) + "\n"


def _about(name: str, result: Mapping[str, Any]) -> list[str]:
    seconds = f", {result['seconds']} s" if "seconds" in result else ""
    seed = "none: no chance in it" if result["seed"] is None else _short(result["seed"])
    beside = "; ".join(result["baselines"]) or "none"
    command = f"make {CAMPAIGNS[name]}" if name in CAMPAIGNS else f"make bench NAME={name}"
    return [
        f"- Data: {result['data']}.",
        f"- Beside it in the same run: {beside}.",
        f"- Seed: {seed}. Machine: {result['machine']}{seconds}, {result['date']}. `{command}`",
    ]


def _words(figures: Mapping[str, Any]) -> str:
    return "; ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in figures.items())


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_short(each)}" for key, each in value.items())
    if isinstance(value, list):
        whole = value == list(range(value[0], value[-1] + 1)) if value and all(type(v) is int for v in value) else False
        return f"{value[0]} to {value[-1]}" if whole and len(value) > 2 else ", ".join(map(str, value))
    return f"{value:,}" if type(value) is int else str(value)


def _read(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
