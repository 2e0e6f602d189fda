"""Which pages a stretch of the past would have been: from what a replay found, and from when to when it held."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from flows.backtest import pages
from flows.replay import Held, Replayed, replay
from tests.unit.flows.test_replay import DEMO, DOWN, TRANSCODER, soundstage, write
from tests.unit.platform_parts import at, series, two_channels
from tonewatch.records import Change, Finding, FindingKind

PACKAGER = "component:packager"
END = at(600)


def found(*told: tuple[Finding, Held], excused: tuple[str, ...] = ()) -> Replayed:
    held = {finding.id: time for finding, time in told}
    return Replayed(tuple(finding for finding, _ in told), excused, 0, 0, held)


def finding(entity: str, symptom: str, started: float, kind: FindingKind = FindingKind.RULE) -> Finding:
    return Finding("replay", entity, f"rule:{symptom}", kind, at(started), at(started + 3), symptom, symptom, "", "")


def held(first: float, last: float) -> Held:
    return Held(at(first), at(last), at(last + 5))


def work(started: float, ended: float | None, kind: str = "maintenance") -> Change:
    return Change("c-1", kind, TRANSCODER, at(started), None if ended is None else at(ended), "ci", "planned")


def count(told: Replayed, *changes: Change) -> int:
    return len(pages(told, two_channels(), changes, END, DEMO))


def test_what_follows_while_its_cause_still_holds_is_no_further_page() -> None:
    cause, later = finding(TRANSCODER, "scrape-refused", 30), finding(PACKAGER, "upstream-errors", 130)
    assert count(found((cause, held(35, 200)), (later, held(135, 200)))) == 1
    assert count(found((cause, held(35, 60)), (later, held(135, 200)))) == 2


@pytest.mark.parametrize(
    ("change", "last", "expected"),
    [
        (work(25, 190), 100, 0),
        (work(25, None), 100, 0),
        (work(25, 60), 100, 1),  # it still holds when the work is over
        (work(36, 190), 100, 1),  # nobody had announced it when the page went out
        (work(25, 190, kind="release"), 100, 1),
    ],
)
def test_announced_work_explains_what_ends_with_it(change: Change, last: float, expected: int) -> None:
    assert count(found((finding(TRANSCODER, "scrape-refused", 30), held(35, last))), change) == expected


def test_two_parts_behind_a_release_are_one_page() -> None:
    both = [
        finding(f"rendition:{name}/aac-128", "playlist-stale", started) for name, started in (("ch1", 30), ("ch2", 90))
    ]
    told = found(*((each, held(35, 200)) for each in both))
    release = Change("c-1", "release", PACKAGER, at(20), at(21), "ci", "version 2")
    assert (count(told, release), count(told)) == (1, 2)


@pytest.mark.parametrize(("last", "expected"), [(DEMO.anomaly_seconds - 5, 0), (DEMO.anomaly_seconds + 5, 1)])
def test_an_anomaly_alone_is_a_page_once_it_has_lasted(last: float, expected: int) -> None:
    alone = finding(TRANSCODER, "unusual", 30, FindingKind.SIGNAL)
    assert count(found((alone, held(35, 33 + last)))) == expected


def test_what_a_starved_watcher_saw_is_none() -> None:
    seen = finding(TRANSCODER, "scrape-refused", 30)
    assert count(found((seen, held(35, 100)), excused=(seen.id,))) == 0


def test_a_replay_tells_from_when_to_when_each_condition_held(tmp_path: Path) -> None:
    told, samples = soundstage()
    silent = series(TRANSCODER, "up", [0.0] * 8, 52)
    kept = [
        each for each in samples if (each.series.entity, each.series.metric) != (TRANSCODER, "up") or each.time < at(52)
    ]
    again = replay(write(tmp_path / "a", [*kept, *silent], told), DEMO)
    downs = {each.started: again.held[each.id] for each in again.findings if each.detector == "rule:scrape-down"}
    first: datetime = at(DOWN.start)
    assert downs[first] == Held(at(35), at(40), at(45))
    assert downs[at(52)] == Held(at(55), at(60), None)
