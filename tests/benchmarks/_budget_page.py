"""The page budget's result: what the seeds told, summed up, and the page for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import beta

from ml.course import Course

OURS = "tonewatch"
CALM_DAYS = 28.0


def interval(good: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share."""
    low = float(beta.ppf(0.025, good, of - good + 1)) if good else 0.0
    return low, float(beta.ppf(0.975, good + 1, of - good)) if good < of else 1.0


def document(told: Sequence[dict[str, Any]], series: int, days: float) -> dict[str, Any]:
    """Figures, baselines and details of all seeds."""
    names = list(told[0]["parties"])
    parties = {name: summed([each["parties"][name] for each in told], days) for name in names}
    ours = parties[OURS]
    return {
        "name": "budget",
        "figures": {
            name: ours[name]
            for name in ("weeks_within", "recall", "delay_s", "recall_one_series", "recall_several", "pages_per_week")
        },
        "baselines": {name: parties[name] for name in names if not name.startswith(OURS)},
        "goals": {"weeks_within": "must 0.95", "recall_one_series": "must above 0"},
        "details": {
            "parties": {name: parties[name] for name in names if name.startswith(OURS)},
            "faults": by_fault(told, OURS),
            "faults_of": {name: by_fault(told, name) for name in names if "calibrated" in name},
            "seeds": {each["seed"]: of_seed(each["parties"][OURS]) for each in told},
            "pages": Counter(page for each in told for page in each["parties"][OURS]["pages"]).most_common(40),
            "fits": {each["seed"]: each["parties"][OURS]["fit"] for each in told},
            "course_cpu_s": round(took := sum(each["course_s"] for each in told), 1),
            "course_evaluations_per_cpu_s": round(_evaluations(len(told) * series, days) / took),
            "course_state_bytes": Course().begin(1).bytes_per_series,
        },
        "data": f"simulator, {len(told)} platforms of {series} series at 1 minute, 28 calm days, then {days:g}",
        "seed": [each["seed"] for each in told],
    }


def _evaluations(series: int, days: float) -> float:
    """Series that were judged: in the calm days, in the clean ones after it and again with faults."""
    return series * 1440 * (CALM_DAYS + 2 * days)


def summed(seeds: Sequence[dict[str, Any]], days: float) -> dict[str, Any]:
    """One party over all seeds. A tenant-week is a whole one; what is left of the last is told apart."""
    whole = int(days // 7)
    weeks = [count for each in seeds for count in each["weeks"][:whole]]
    rest = [sum(each["weeks"][whole:]) for each in seeds]
    within = sum(count <= 1 for count in weeks)
    low, high = interval(within, len(weeks)) if weeks else (0.0, 1.0)
    found = [each for seed in seeds for each in seed["found"]]
    delays = [each["delay_s"] for each in found if each["delay_s"] is not None]
    chance = [each for seed in seeds for each in seed["by_chance"]]
    return {
        "weeks": len(weeks),
        "weeks_within": _rounded(within / max(len(weeks), 1)),
        "interval": [_rounded(low), _rounded(high)],
        "rests_within": _rounded(float(np.mean([count <= 1 for count in rest]))),
        "pages_per_week": _rounded((sum(weeks) + sum(rest)) / (len(seeds) * days / 7)),
        "weeks_by_pages": {str(count): number for count, number in sorted(Counter(weeks).items())[:12]},
        "faults": len(found),
        "recall": share(found),
        "recall_one_series": share([each for each in found if each["single"]]),
        "recall_several": share([each for each in found if not each["single"]]),
        "joined_only": _rounded(float(np.mean([each["joined"] for each in found]))) if found else 0.0,
        "by_chance": _rounded(float(np.mean(chance))) if chance else 0.0,
        "delay_s": float(np.median(delays)) if delays else None,
        "delay_p90_s": float(np.quantile(delays, 0.9)) if delays else None,
    }


def of_seed(party: dict[str, Any]) -> dict[str, Any]:
    """Its weeks, and the share of its faults that was found."""
    return {"weeks": party["weeks"], "recall": share(party["found"])}


def share(found: Sequence[dict[str, Any]]) -> float:
    """Of these faults, how many were found."""
    return _rounded(float(np.mean([each["delay_s"] is not None for each in found]))) if found else 0.0


def by_fault(told: Sequence[dict[str, Any]], party: str) -> dict[str, dict[str, Any]]:
    """Recall and median delay of each fault of the catalogue."""
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in told:
        for each in seed["parties"][party]["found"]:
            found.setdefault(each["name"], []).append(each)
    return {
        name: {
            "one_series": of[0]["single"],
            "faults": len(of),
            "recall": share(of),
            "delay_s": float(np.median(delays)) if (delays := _delays(of)) else None,
        }
        for name, of in sorted(found.items())
    }


def _delays(found: Sequence[dict[str, Any]]) -> list[float]:
    return [each["delay_s"] for each in found if each["delay_s"] is not None]


def _rounded(value: float) -> float:
    return round(value, 3)


def page(document: dict[str, Any]) -> str:
    """The same for people."""
    ours, faults = document["details"]["parties"][OURS], document["details"]["faults"]
    lines = [
        "# Page budget",
        "",
        f"{document['machine']}, {document['date']}; {document['data']}. One page a week over all detectors together.",
        f'Made by `make bench NAME=budget ARGS="--first {document["seed"][0]}"`.',
        "",
        f"Weeks within the budget: {ours['weeks_within']:.1%} of {ours['weeks']} whole tenant-weeks "
        f"(95 % interval {ours['interval'][0]:.1%} to {ours['interval'][1]:.1%}; must 95 %); of what is left of each "
        f"seed's last week {ours['rests_within']:.0%}. {ours['pages_per_week']} pages a week on the average.",
        "",
        "| who | weeks within | pages/week | recall | one series | several | by chance | joined | delay s | 90 % s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, of in (document["details"]["parties"] | document["baselines"]).items():
        lines.append(
            f"| {name} | {of['weeks_within']:.1%} | {of['pages_per_week']} | {of['recall']} | "
            f"{of['recall_one_series']} | {of['recall_several']} | {of['by_chance']} | {of['joined_only']} | "
            f"{of['delay_s']} | {of['delay_p90_s']} |"
        )
    lines += ["", *_explained(), "", "| fault | one series | faults | recall | median delay s | Netdata | SigNoz |"]
    lines += ["|---|---|---|---|---|---|---|"]
    theirs = document["details"]["faults_of"]
    for name, of in faults.items():
        rivals = " | ".join(str(each[name]["recall"]) for each in theirs.values())
        lines.append(f"| {name} | {of['one_series']} | {of['faults']} | {of['recall']} | {of['delay_s']} | {rivals} |")
    lines += ["", "What opened the pages of the clean weeks, ours:", ""]
    lines += [f"- {count} x {what}" for what, count in document["details"]["pages"]]
    lines += ["", *_short()]
    tried = "../decisions/0005-thresholds-are-set-on-incidents.md"
    chosen = (
        f"Choices were made on seeds 101 to 106 and tried on 107 to 118 ([what was tried]({tried})). A first run on "
        "seeds 1 to 20 kept 95.0 % of weeks at a recall of 0.71; it showed a defect, which was mended before 21 to 40 "
        "were scored for the first time: 98.8 % of weeks, recall 0.80. Since then the benchmark follows what the "
        "watcher follows, and no more: what the programme does (silence, loudness, sizes of segments) is for rules "
        "there, so that single series of it that are stuck or restless are missed here."
    )
    lines += ["", chosen, "", _speed(document)]
    lines += ["", "Of each seed: weeks, and the share of its faults that ours found.", ""]
    lines += [f"- {seed}: {told['weeks']}, {told['recall']}" for seed, told in document["details"]["seeds"].items()]
    return "\n".join(lines) + "\n"


def _short() -> list[str]:
    return [
        "Where it falls short. Whoever wrote the course had read the simulator: that days are of two kinds, that",
        "figures go by shares of themselves, that releases move levels. These figures flatter what expects what is",
        "made here; real platforms have yet to be measured. Some platforms' calm holds an outlier that lifts their",
        "threshold, and with it what is missed there. Of what a missing scrape hides (dropout) nothing is seen here by",
        "design: missing data are findings of their own kind. The forests add little to the course; edges have none:",
        "at 100 series too few of their features are simulated. Grouping is the product's look at the past",
        "(tasks/backtest.py), where an incident is over when its findings are.",
    ]


def _speed(document: dict[str, Any]) -> str:
    took = document["details"]["course_cpu_s"]
    return (
        f"The course took {took:,.0f} s of a core for all of this: "
        f"{document['details']['course_evaluations_per_cpu_s']:,} series a second; "
        f"its state takes {document['details']['course_state_bytes']:,} bytes a series."
    )


def _explained() -> list[str]:
    return [
        "A fault is found if an incident opens before its end, or within 10 minutes of its onset, on an entity of the",
        "truth or one related to it; what opens with its mending does not count. *By chance*: the same asked of the",
        "clean platform's incidents. *Joined*: nothing opened, but a finding on it joined an incident that was",
        "open already, as where an alarm never ends; that counts as missed. Rivals: Netdata's vote and SigNoz's",
        "formula in our own words, grouped into incidents as ours are, at their own thresholds and calibrated as ours.",
        "Ours is the course of the platform (ml/course.py) and the forests under one budget, with no threshold below",
        "what other platforms' calm has shown; *the calm's own threshold*: without that; *course alone*: no forests.",
        "The ensemble's reports open nothing (`--ensemble` shows what they would).",
    ]
