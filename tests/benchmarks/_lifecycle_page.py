"""What the weeks of the lifecycle's platforms come to: the result, its page for people and its picture."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

BUDGET, WEEK, DAY = 2.0, 7.0, timedelta(days=1)
COLOURS = {"changed": "#444", "drift": "#c98b2b", "trained": "#1f6f8b", "promoted": "#3f7f4f", "sabotage": "#a3201d"}


def document(lives: Sequence[dict[str, Any]], *, changed: float, days: float) -> dict[str, Any]:
    """The result, without machine and date. lives: what each seed told; days: from the platform's beginning."""
    told = [_life(json.loads(json.dumps(each, default=str)), changed, days) for each in lives]
    return {
        "name": "lifecycle",
        "figures": {
            "drift_found_days": _worst(max, told, "drift_found_days"),
            "promoted_days": _worst(max, told, "promoted_days"),
            "pages_week_before": _worst(max, told, "pages_week_before"),
            "pages_week_drifted": _worst(min, told, "pages_week_drifted"),
            "pages_week_after": _worst(max, told, "pages_week_after"),
            "sabotage_promoted": sum(each["sabotage_promoted"] for each in told),
            "steps_as_runs": sum(each["steps_as_runs"] for each in told),
            "steps": sum(len(each["steps"]) for each in told),
        },
        "baselines": {"the champion of before, had nobody replaced it": _worst(min, told, "pages_week_drifted")},
        "goals": {
            "pages_week_after": f"must <= {BUDGET:g}, the tenant's budget",
            "sabotage_promoted": "must be 0",
            "steps_as_runs": "must be all of the steps",
        },
        "details": {"budget": BUDGET, "changed": changed, "days": days, "seeds": told},
        "data": "simulated platforms (sources and renditions, read once a minute), whose evenings have a peak of ten "
        f"times the usual ones from day {changed:g} on",
        "seed": [each["seed"] for each in told],
    }


def _worst(way: Any, told: Sequence[dict[str, Any]], name: str) -> float | None:
    """None: in one of them it never came to that."""
    found = [each[name] for each in told]
    return None if None in found else way(found)


def _life(told: dict[str, Any], changed: float, days: float) -> dict[str, Any]:
    start = datetime.fromisoformat(told["start"])

    def day(moment: str) -> float:
        return round((datetime.fromisoformat(moment) - start) / DAY, 2)

    passed = {(each["family"], each["version"]) for each in told["versions"] if each["gate"] == "passed"}
    slipped = {(each["family"], each["version"]): each for each in told["sabotaged"]}
    mine = [each for each in told["validations"] if (each["family"], each["challenger"]) not in slipped]
    promoted = sorted(day(each["promoted"]) for each in mine if each["promoted"] and day(each["promoted"]) > changed)
    asked = sorted(day(each["asked"]) for each in told["drift_asked"] if day(each["asked"]) > changed)
    pages = [day(moment) for moment, _ in told["pages"]]
    steps = _steps(told, day, slipped)
    return {
        "seed": told["seed"],
        "drift_found_days": round(asked[0] - changed, 2) if asked else None,
        "promoted_days": round(promoted[0] - changed, 2) if promoted else None,
        "last_promoted_days": round(promoted[-1] - changed, 2) if promoted else None,
        "pages_week_before": sum(changed - WEEK < each <= changed for each in pages),
        "pages_week_drifted": _per_week(pages, changed, promoted[0] if promoted else days),
        "pages_week_after": _per_week(pages, promoted[-1], days) if promoted else None,
        "days_after": round(days - promoted[-1], 2) if promoted else 0.0,
        "sabotage_promoted": sum(
            bool(each["promoted"]) for each in told["validations"] if (each["family"], each["challenger"]) in slipped
        ),
        "asked_before_the_change": sum(day(each["asked"]) <= changed for each in told["drift_asked"]),
        "pages_by_day": [sum(number < each <= number + 1 for each in pages) for number in range(int(days))],
        "pages_by_family": dict(Counter(family for _, family in told["pages"])),
        "steps": steps,
        "steps_as_runs": sum(each["state"] == "Completed" for each in steps),
        "runs": dict(Counter(f"{each['deployment']}: {each['state']}" for each in told["runs"])),
        "not_completed": [
            f"day {day(each['as_of'])}: {each['deployment']}: {each['message']}"
            for each in told["runs"]
            if each["state"] != "Completed"
        ],
        "versions": told["versions"],
        "validations": [
            {
                **each,
                "started": day(each["started"]),
                "promoted": each["promoted"] and day(each["promoted"]),
                "until": each["until"] and day(each["until"]),
                "slipped_in": (each["family"], each["challenger"]) in slipped,
            }
            for each in told["validations"]
        ],
        "sabotaged": [
            {**each, "at": day(each["at"]), "passed": (each["family"], each["version"]) in passed}
            for each in told["sabotaged"]
        ],
        "wall_seconds": told["seconds"],
    }


def _per_week(pages: Sequence[float], first: float, last: float) -> float:
    return round(sum(first < each <= last for each in pages) * WEEK / max(last - first, 1e-9), 2)


def _steps(told: dict[str, Any], day: Any, slipped: dict[Any, Any]) -> list[dict[str, Any]]:
    """What the chain did: day, what, the run of Prefect that did it, and the version of MLflow that it is about."""
    runs = {each["id"]: each for each in told["runs"]}
    at = {(each["deployment"], day(each["as_of"])): each["id"] for each in told["runs"]}
    found: list[tuple[float, str, str, str]] = []
    for each in told["runs"]:
        if each["deployment"] == "training":
            made = [
                f"{v['family']} {v['version']}"
                for v in told["versions"]
                if v["data_end"]
                and day(v["data_end"]) == day(each["as_of"])
                and (v["family"], v["version"]) not in slipped
            ]
            found.append((day(each["as_of"]), "trained", each["id"], ", ".join(sorted(made))))
    for each in told["drift_asked"]:
        moment = day(each["asked"])
        found.append((moment, f"drift of {each['view']} asks for a training", at.get(("drift", moment), ""), ""))
    for each in told["validations"]:
        about = f"{each['family']} {each['challenger']} against {each['champion']}"
        final = each["promoted"] or (each["until"] if each["final"] else None)
        if final:
            words = "better: promoted" if each["promoted"] else each["answer"]
            found.append((day(final), words, _run_at(told, "validation", final), about))
    return [
        {"day": moment, "what": what, "run": run, "state": runs[run]["state"] if run in runs else "", "about": about}
        for moment, what, run, about in sorted(found)
    ]


def _run_at(told: dict[str, Any], deployment: str, moment: str) -> str:
    """The first run that was as of that moment or later: a verdict is of the samples until then."""
    later = [
        each for each in told["runs"] if each["deployment"] == deployment and _parsed(each["as_of"]) >= _parsed(moment)
    ]
    return str(min(later, key=lambda each: _parsed(each["as_of"]))["id"]) if later else ""


def _parsed(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


def page(told: dict[str, Any]) -> str:
    """For people."""
    figures, details = told["figures"], told["details"]
    lines = [
        "# From drift to promotion, unattended",
        "",
        f"{told['machine']}, {told['date']}, seeds {', '.join(map(str, told['seed']))}, {told['seconds']} s; "
        f"{told['data']}. Made by `make bench NAME=lifecycle`.",
        "",
        f"Pages a week: {figures['pages_week_before']} before the traffic changed, {figures['pages_week_drifted']} "
        f"with the old champions, **{figures['pages_week_after']}** after the last promotion "
        f"({told['goals']['pages_week_after']}). Drift asked for a training {figures['drift_found_days']} days after "
        f"the change, the first better challenger was promoted {figures['promoted_days']} days after it. "
        f"{figures['sabotage_promoted']} of {_passed(details['seeds'])} sabotaged "
        f"challengers that the offline gate had passed were promoted (must: 0). {figures['steps_as_runs']} of "
        f"{figures['steps']} steps are completed runs of Prefect. Of each figure the worst seed.",
        "",
        "![Pages per day](lifecycle.png)",
        "",
        "| seed | drift after days | promoted | last promotion | pages a week before | drifted | after | in days |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {s['seed']} | {s['drift_found_days']} | {s['promoted_days']} | {s['last_promoted_days']} | "
        f"{s['pages_week_before']} | {s['pages_week_drifted']} | {s['pages_week_after']} | {s['days_after']} |"
        for s in details["seeds"]
    ]
    for seed in details["seeds"]:
        lines += _seed(seed)
    return "\n".join([*lines, "", *HOW, "", *SHORT]) + "\n"


def _passed(seeds: Sequence[dict[str, Any]]) -> int:
    return sum(each["passed"] for seed in seeds for each in seed["sabotaged"])


def _seed(of: dict[str, Any]) -> list[str]:
    lines = ["", f"## Seed {of['seed']}", "", "| day | step | version | run | state |", "|---|---|---|---|---|"]
    lines += [f"| {s['day']} | {s['what']} | {s['about']} | `{s['run'][:8]}` | {s['state']} |" for s in of["steps"]]
    lines += ["", "| validation | from day | to | answer | why |", "|---|---|---|---|---|"]
    for each in sorted(of["validations"], key=lambda one: float(one["started"])):
        about = f"{each['family']} {each['challenger']} against {each['champion']}"
        about += ", sabotaged" if each["slipped_in"] else ""
        answer = each["answer"] + ("" if each["final"] else ", goes on")
        lines.append(f"| {about} | {each['started']} | {each['until']} | {answer} | {'; '.join(each['reasons'][:2])} |")
    lines += [""]
    for each in of["sabotaged"]:
        word = "passed" if each["passed"] else "refused"
        lines.append(
            f"- Day {each['at']:g}, sabotage *{each['how']}*: the gate {word} {each['version']}: {each['gate']}."
        )
    runs = ", ".join(f"{count} {name}" for name, count in sorted(of["runs"].items()))
    lines += ["", f"Runs: {runs}. Pages by family: {of['pages_by_family']}. {of['wall_seconds']} s."]
    return lines + [f"- {each}" for each in of["not_completed"]]


HOW = [
    "The servers are real: PostgreSQL, MLflow, and a Prefect with the deployments of `deployments/prefect.yaml`.",
    "The clock is virtual: the benchmark stores the samples as they come and asks for what the schedules ask for,",
    "with the moment as `as_of` (materialization, validation and drift every twelve hours, data-quality and",
    "maintenance once a day). It decides nothing. Runs are carried out one after another in one warm process",
    "instead of a process each; the first training is asked for by hand, as an owner would. Pages are those of",
    "whoever is champion, fetched as the watcher does, counted by the product's own judging, related ones as one.",
    "Sabotage: *deaf*: well learned, and somebody raises its threshold after the gate; *strange*: it learned, and",
    "was held against the champion, on windows that are not this platform's.",
]
SHORT = [
    "Where it falls short. All is simulated: two families of one small platform, one kind of change. Which",
    "families, and how high the evening is, was chosen by looking at seeds 1 to 3, so that the change makes a",
    "champion page; in such looks without servers ingests and packagers paged too, once or twice a week, which is",
    "too rare for a proof within 28 days. Injected anomalies of a quarter of an hour are small beside what the day",
    "does to most features, so recall is low for both and says little: pages decide. Until the promotion the old",
    "champion goes on paging: a proof takes as many days as it takes.",
]


def picture(told: dict[str, Any]) -> bytes:
    """PNG: pages per day, a plot per seed, with marks of the steps."""
    from matplotlib.figure import Figure

    seeds = told["details"]["seeds"]
    figure = Figure(figsize=(9.0, 2.8 * len(seeds)), dpi=100, layout="constrained")
    for axes, of in zip(figure.subplots(len(seeds), 1, squeeze=False).ravel(), seeds, strict=True):
        count = of["pages_by_day"]
        axes.step([number + 1 for number in range(len(count))], count, where="pre", color="#222", linewidth=1.2)
        axes.axhline(told["details"]["budget"] / WEEK, color="#888", linewidth=0.8, linestyle=":")
        for moment, kind, label in _marks(of, told["details"]["changed"]):
            axes.axvline(moment, color=COLOURS[kind], linewidth=1.0, label=label)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.legend(handles.values(), handles.keys(), fontsize=7, loc="upper right")
        axes.set(title=f"seed {of['seed']}", ylabel="pages a day", xlabel="day", ylim=(0, max([*count, 1]) * 1.1))
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def _marks(of: dict[str, Any], changed: float) -> list[tuple[float, str, str]]:
    found = [(changed, "changed", "the traffic changes")]
    for step in of["steps"]:
        for word, kind in (("drift of", "drift"), ("trained", "trained"), ("better", "promoted")):
            if step["what"].startswith(word):
                found.append(
                    (step["day"], kind, {"drift": "drift asks", "trained": "trained", "promoted": "promoted"}[kind])
                )
    return [*found, *((each["at"], "sabotage", "sabotage slipped in") for each in of["sabotaged"])]
