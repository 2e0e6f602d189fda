"""The page of the replay gate, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Of what got worse, so many cases are shown; the JSON holds all.
SHOWN = 15


def page(told: Mapping[str, Any]) -> str:
    """The whole page."""
    return "\n".join([*_head(told), *_stated(told), *_found(told["details"]), *_changes(told["details"])]) + "\n"


def _head(told: Mapping[str, Any]) -> Iterator[str]:
    found, details = told["figures"], told["details"]
    yield "# The replay gate"
    yield ""
    yield (
        f"{told['data']}; {told['machine']}; {told['date']}. Made by `make bench NAME=replay` in {told['seconds']} s "
        f"({details['cpu_seconds']} s of the processors), at most {details['most_memory_mb']} MB in a process."
    )
    yield ""
    yield (
        f"{found['bit_exact']} of {found['cases']} recorded cases came out bit for bit the same in two processes: "
        f"{found['incidents']} incidents, {found['real']} of them of a real soundstage, and "
        f"{found['cases'] - found['incidents']} calm periods. Of {found['planted']} changes that make things worse "
        f"{found['planted_refused']} are refused, each with the list of what gets worse; of {found['harmless']} that "
        f"do no harm (one is: nothing is changed) {found['harmless_passed']} pass."
    )


def _stated(told: Mapping[str, Any]) -> Iterator[str]:
    if told.get("stated"):
        yield from ("", told["stated"])


def _found(details: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## What is found", "")
    yield "| recorded from | incidents | found | mended by itself | median s | pages besides | false pages in calm |"
    yield "|---|---|---|---|---|---|---|"
    for where, each in details["found"].items():
        yield (
            f"| {where} | {each['incidents']:.0f} | {each['found']:.0f} | "
            f"{each['mended_by_itself']:.0f} | {each['median_found_s']:.0f} | "
            f"{each['pages_besides']:.0f} | {each['false_pages_in_calm']:.0f} |"
        )
    yield ""
    by_kind = details["found_by_kind"]
    yield "By kind: " + ", ".join(f"{k} {by_kind.get(k, 0)} of {n}" for k, n in details["incidents_by_kind"].items())
    yield ""
    yield (
        "The soundstage's incidents are judged by rules alone, and decided on once more: mended by itself is what the "
        "profile's grants and guardrails would let be mended, the cause taken as known. The simulator's are judged by "
        "forests that learned from the platform's calm days and by the course of the platform, which goes on from what "
        "it knew when the case begins: its state lies in the case. The budget is opened on purpose (20 pages a week): "
        "a gate is tested on what is found. A page besides is one that is not of the case's own fault; other faults of "
        "the same days may fall into a case, and their pages are counted there."
    )


def _changes(details: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## Changes", "")
    yield (
        "Rules, guardrails and grants are tried on the soundstage's cases; forests on one simulated platform without "
        "single series, as cases of a warehouse are judged; the course on a third of that platform's incidents and all "
        "its calm periods."
    )
    yield from ("", "| change | verdict | worse | better | same | findings differ in |")
    yield "|---|---|---|---|---|---|"
    for name, each in details["changes"].items():
        verdict = "refused" if each["refused"] else "passes"
        yield (
            f"| {name} | {verdict} | {len(each['worse'])} | {len(each['better'])} | {each['same']} | "
            f"{each['changed']} |"
        )
    for name, each in details["changes"].items():
        if each["worse"]:
            yield from ("", f"### {name[0].upper()}{name[1:]}", "")
            yield from (f"- {case}: {why}" for case, why in list(each["worse"].items())[:SHOWN])
            if len(each["worse"]) > SHOWN:
                yield f"- and {len(each['worse']) - SHOWN} more (replay.json)"
