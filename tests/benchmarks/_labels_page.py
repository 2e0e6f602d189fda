"""The page of the labels' result, for people."""

from __future__ import annotations

from typing import Any


def page(document: dict[str, Any]) -> str:
    """All of it."""
    details, figures = document["details"], document["figures"]
    low, high = details["lift_interval"]
    asked_low, asked_high = details["lift_of_asking_interval"]
    lines = [
        "# Labels",
        "",
        f"{document['machine']}, {document['date']}; {document['data']}. Made by `make bench NAME=labels`.",
        "",
        f"**Lift {figures['lift']}** in budgeted recall, 95 % interval {low} to {high} (must: above 0), of thresholds "
        "set again on the judged days with what the gate settled as real left out, over the same without labels. "
        f"**{figures['poison_passed']} of {details['hostile_runs']} hostile runs passed** the gate (must: 0); "
        f"{details['honest_quarantined']} honest people were quarantined in them. Asking about what lay just below the "
        f"thresholds adds {details['lift_of_asking']} ({asked_low} to {asked_high}).",
        "",
        "| what was left out of the judged days | budgeted recall | recall, whatever the pages | false pages/week |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {of['recall']} | {of['recall_whatever_pages']} | {of['false_pages_per_week']} |"
        for name, of in details["ways"].items()
    ]
    lines += ["", *_explained(), "", *_hostile(details)]
    return "\n".join(lines) + "\n"


def _hostile(details: dict[str, Any]) -> list[str]:
    ways = list(next(iter(details["strategies"].values()))["passed"])
    lines = [
        f"Hostile labels are a tenth of all. A run passes if thresholds end further from where the honest labels alone "
        f"take them than {details['tolerance']:.0%} of the way that those moved them, in either direction, or if an "
        f"eased one differs by more than {details['tolerance']:.0%} of what one person alone may move.",
        "",
        f"| strategy | runs | hostile of all labels | quarantined | {' | '.join(f'passed: {way}' for way in ways)} "
        "| furthest: gate | face value |",
        f"|---|---|---|---|{'---|' * len(ways)}---|---|",
    ]
    for name, of in details["strategies"].items():
        passed = " | ".join(str(of["passed"][way]) for way in ways)
        lines.append(
            f"| {name} | {of['runs']} | {of['hostile_labels']} of {of['labels']} | {of['liars_quarantined']} "
            f"| {passed} | {of['furthest']['gate']:.1%} | {of['furthest']['face value']:.1%} |"
        )
    return [*lines, "", *_short()]


def _explained() -> list[str]:
    return [
        "*Budgeted recall*: of the faults of the held-back days, those found in weeks with one false page at most. The",
        "judged days hold ten faults a week; taken for calm they set thresholds that nothing reaches. *No labels* is",
        "what training did before: all of it is calm. *Every incident left out* needs no labels, and does as well or",
        "better here, because nearly all that was told is real: labels earn their keep where false alarms are many,",
        "since a false alarm that is left out of the calm comes again. Five honest people are right in 85 to 95 % and",
        "judge half of the incidents each; of 35 % of the real ones something is verified. Majority and face value",
        "(the last word) hear the same words without the gate.",
    ]


def _short() -> list[str]:
    return [
        "What the gate pays: it settles nothing on one person's word where others could be asked, so with honest",
        "people alone it leaves out fewer incidents than a majority would. What it cannot see: two liars who were",
        "right for long and then lie of the same incidents, where nobody else looks and nothing is verified. Most",
        "liars who speak of few incidents are not quarantined; they are not heard. Choices were made on seeds 401 to",
        "405. A first run on seeds 1 to 10 let 2 of 90 pass: an author was known by how sure the others were, which a",
        "liar's labels could take back. That was understood and changed on 401 to 405, and these seeds were run again;",
        "seeds 11 to 15, on which nobody had looked before, then let 0 of 45 pass, with a lift of 0.20.",
    ]
