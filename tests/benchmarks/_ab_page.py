"""docs/results/ab.md and its picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

COLOURS = ("#8a929c", "#c98b2b", "#1f6f8b", "#3f7f4f", "#a3201d")


def page(told: dict[str, Any]) -> str:
    """For people."""
    details, baselines = told["details"], told["baselines"]
    lines = [
        "# A/B validation",
        "",
        f"{told['machine']}, {told['date']}, seed {told['seed']}, {told['seconds']} s; {told['data']}. "
        "Made by `make bench NAME=ab`.",
        "",
        f"Wrong verdicts of A/A tests, looked at after every observation, guards included, the worst form: "
        f"**{told['figures']['aa_wrong_verdicts']:.2%}** ({told['goals']['aa_wrong_verdicts']}). "
        f"Power, the weaker form: **{told['figures']['power']:.1%}** ({told['goals']['power']}), for {told['stated']}.",
        f"Not in it: equal models that now and then stand in alarm for days; see the table of those below, where up to "
        f"{_most(details['standing']):.1%} are called unequal.",
        "",
        "| A/A | tests | wrong | had it gone on | better | worse | inconclusive early: too small to matter |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, of in details["aa"].items():
        on = f"{of['had_it_gone_on']:.2%}" if "had_it_gone_on" in of else ""
        lines.append(
            f"| {name} | {of['tests']:,} | {of['wrong']:.2%} | {on} | {of['better']:.2%} | {of['worse']:.2%} | "
            f"{of['too_small']:.1%} |"
        )
    lines += ["", *WAYS, "", "| way, unit | A/A wrong, eight tenants | power, one platform |", "|---|---|---|"]
    lines += [f"| {name} | {share:.2%} | {baselines['power'][name]:.1%} |" for name, share in baselines["A/A"].items()]
    lines += ["", "![Power over effect and length](ab.png)", "", "| better within days | 7 | 14 | 28 | 42 | 56 |"]
    lines += ["|---|---|---|---|---|---|"]
    for name in ("one platform", "eight tenants"):
        for of in details["curves"][name]:
            shares = " | ".join(f"{share:.0%}" for share in of["found_within_days"].values())
            lines.append(f"| {name}, +{of['effect']} | {shares} |")
    lines += ["", "| split, eighty units a week | better |", "|---|---|"]
    lines += [
        f"| +{of['effect']} within {of['weeks']} weeks | {of['better']:.0%} |" for of in details["curves"]["split"]
    ]
    lines += ["", "| challengers that must not pass | better | worse | median days |", "|---|---|---|---|"]
    for name, of in details["harmful"].items():
        if "worse" in of:
            lines.append(f"| {name} | {of['better']:.1%} | {of['worse']:.1%} | {of['median_days']} |")
    lines += [
        "",
        "| finds as much as a champion that pages too much | better | worse | median days |",
        "|---|---|---|---|",
    ]
    for name, of in details.get("quieter", {}).items():
        lines.append(f"| {name} | {of['better']:.1%} | {of['worse']:.1%} | {of['median_days']} |")
    lines += ["", *STANDING, "", "| who stands in alarm for days | better | worse | median days |", "|---|---|---|---|"]
    for name, of in details["standing"].items():
        lines.append(f"| {name} | {of['better']:.1%} | {of['worse']:.1%} | {of['median_days']} |")
    edge = details["harmful"]["latency on the edge"]["shown_broken"]
    stress = details["luck_of_12_hours"]
    alone = stress["effect_alone"]["betting, bursts"]
    words = f"Equal detectors whose luck lasts for 12 hours, two bursts, instead of 2: {stress['wrong']:.2%} wrong;"
    lines += ["", f"{words} the effect alone at 5 %: {alone:.2%}, for bursts then depend on one another."]
    lines += ["", f"A latency exactly on what is tolerated was called broken in {edge:.2%}.", "", *SHORT]
    return "\n".join(lines) + "\n"


def _most(standing: dict[str, Any]) -> float:
    """The share of equal models that are called unequal in the worst of these worlds."""
    most: float = max(of["better"] + of["worse"] for name, of in standing.items() if name.startswith("either"))
    return most


WAYS = [
    "The effect alone, 5 % for both sides together, each way on the same outcomes and asked after each value. Betting:",
    "ours (Waudby-Smith & Ramdas 2024). Empirical Bernstein: Howard et al. 2021. mSPRT: Johari et al. 2017, with the",
    "variance so far, so valid in the limit only. The fixed test is meant for one look; peeked, dashboards do it.",
    "A *burst* is all that began in a tenant's six hours; an *incident* by itself takes what belongs together as many.",
]
STANDING = [
    "An alarm that stands for days (five in the mean, in a quarter of a tenant, whose anomalies are lost to whoever",
    "stands in it) is one cause, and each of its days counts. So of two models that are equal in the long run, each",
    "with such alarms of its own, one is called better or worse the more often the more such alarms there are. They",
    "count all the same: counted once, a champion that the stream has left behind, and that is deaf where it",
    "stands, would keep its place. The last two rows are such a one.",
    "",
    "Tried and left: of a day only pages count that begin on it; bursts in which one side alone stands say nothing of",
    "who finds more; whoever alone has stood on 14 calm days in half of the tenants is judged by that. Then equal",
    "models were called unequal in 1.4, 3.8 and 6.0 % (one platform) and 1.0, 1.2 and 0.4 % (eight tenants), and a",
    "champion that always stands was replaced in 100 % after 15 days. But where its challenger paged across an hour's",
    "end 0.5, 1 or 2 times a week it was replaced in 71, 39, 4 % only (as it is: 100 % with 1, 99.5 % with 2); and a",
    "challenger that found less in all could be called better by the bursts in which nobody stood. To put a model in",
    "the place of its equal costs next to nothing; to keep one that the stream has left behind costs pages every week.",
]
SHORT = [
    "Where it falls short. All outcomes are made. Neighbouring bursts are not quite independent here: the fixed test",
    "is wrong in more than 5 % even at one look. Luck that lasts for days needs longer bursts (a plan's `burst`). On",
    "one platform small gains take months, and calm days with a page are so few that pages are not *shown* to keep to",
    "what is tolerated: they must not be shown to break it, and after 14 calm days their estimate must keep to it.",
    "Incidents whose label comes late change a burst that is over.",
]


def picture(curves: dict[str, list[dict[str, Any]]], lengths: Sequence[int]) -> bytes:
    """PNG: power by length, a line per effect, one plot for one platform and one for eight tenants."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), dpi=100, layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    for axes, name in zip(both, ("one platform", "eight tenants"), strict=True):
        for of, colour in zip(curves[name], COLOURS, strict=True):
            axes.plot(lengths, list(of["found_within_days"].values()), "o-", color=colour, label=f"+{of['effect']}")
        axes.axhline(0.8, color="#444", linewidth=0.8, linestyle=":")
        axes.set(title=f"{name}: called better, by then", xlabel="days", ylim=(0, 1.02))
    both[0].set(ylabel="share of validations")
    both[0].legend(title="gain in recall", loc="upper left")
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()
