"""The live view: pictures as people see them, and as lines in a log."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from console.demo.live import HEARTBEAT_SECONDS, PlainView, Scene, changes, heartbeat, level_bar, open_view, render
from tonewatch.clock import ManualClock


def sample_picture(**changed: Any) -> dict[str, Any]:
    """What the watcher puts into the cache in the middle of a transcoder's crash."""
    picture: dict[str, Any] = {
        "time": "2026-11-23T18:00:10+00:00",
        "tick": 42,
        "entities": {
            "component:source-ch1-primary": {"stage": "source", "health": "ok", "note": ""},
            "component:source-ch1-backup": {"stage": "source", "health": "ok", "note": ""},
            "component:ingest-ch1": {"stage": "ingest", "health": "ok", "note": ""},
            "component:transcoder-ch1": {"stage": "transcode", "health": "down", "note": "3 scrapes refused"},
            "component:packager": {"stage": "package", "health": "warn", "note": "playlist 6.2 s old"},
            "component:origin": {"stage": "origin", "health": "ok", "note": ""},
            "edge:edge-1": {"stage": "edge", "health": "ok", "note": ""},
            "edge:edge-2": {"stage": "edge", "health": "unknown", "note": ""},
        },
        "sound": {
            "rendition:ch1/aac-64": {"lufs": -18.2, "silent_s": 0.0, "age_s": 2.1},
            "rendition:ch1/aac-128": {"lufs": None, "silent_s": 12.0, "age_s": None},
        },
        "players": {"sessions": 20, "starved_ratio": 0.45, "stalls": 9},
        "incidents": [
            {
                "id": "i1",
                "title": "ch1 carries no sound",
                "state": "diagnosed",
                "step": "decide",
                "cause": "component:transcoder-ch1:crash",
                "confidence": 0.93,
                "action": "restart component:transcoder-ch1",
                "reason": "granted by the owner of the demo",
                "onset": "2026-11-23T18:00:02+00:00",
                "listener_minutes_lost": 1.25,
            }
        ],
        "findings": [
            {
                "time": "2026-11-23T18:00:05+00:00",
                "entity": "component:transcoder-ch1",
                "summary": "metrics refused three times in a row",
                "kind": "rule",
            }
        ],
        "host": {"starved_s": 0, "lag_ms": 3},
        "models": {"transcode": "2", "edge": None},
        "collected_since": "2026-11-23T17:55:00+00:00",
    }
    return picture | changed


def as_text(scene: Scene, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(render(scene))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "seen",
    [
        "transcode →",
        "✖ ch1",
        "✖ transcoder-ch1: 3 scrapes refused",
        "● ch1-primary",
        "[decide]",
        "component:transcoder-ch1:crash (93%)",
        "restart component:transcoder-ch1, because granted by the owner of the demo",
        "without sound 45 %",
        "-18.2 LUFS",
        "no sound",
        "metrics refused three times in a row",
        "transcode 2",
        "listening to the platform",
        "92 of 180 s",
    ],
)
def test_picture_tells(seen: str) -> None:
    scene = Scene("listening to the platform", 92.0, sample_picture(), done=92.0, of=180.0)
    assert seen in as_text(scene, width=120)


@pytest.mark.parametrize(
    ("series", "seen"),
    [
        (None, ""),
        ({"followed": 90, "refused": 0, "families": 20, "thresholds": 12, "caught_up": False}, "catching up with"),
        (
            {"followed": 90, "refused": 0, "families": 20, "thresholds": 12, "caught_up": True},
            "12 of 20 families can tell",
        ),
        (
            {"followed": 90, "refused": 7, "families": 20, "thresholds": 0, "caught_up": True},
            "90 series followed, no room for 7",
        ),
        (
            {"followed": 90, "families": 20, "thresholds": 12, "by_course": 70, "caught_up": True},
            "12 of 20 families can tell, 70 judged by the platform's course",
        ),
    ],
)
def test_it_is_told_how_many_series_are_followed(series: Any, seen: str) -> None:
    scene = Scene("watching", 5.0, sample_picture(series=series))
    for text in (as_text(scene, width=160), heartbeat(scene)):
        assert ("followed" in text) == (series is not None)
        assert seen in text


def test_picture_fits_a_small_terminal() -> None:
    lines = as_text(Scene("watching", 5.0, sample_picture()), width=80).splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80


def test_empty_picture_shows_the_phase_alone() -> None:
    assert "starting the database" in as_text(Scene("starting the database", 1.0))


def test_half_filled_picture_is_shown_all_the_same() -> None:
    picture = {"incidents": [{}], "findings": [{}], "entities": {"edge:e": {}}, "sound": {"rendition:a/b": {}}}
    assert "incident" in as_text(Scene("watching", 1.0, picture))


def test_level_bar_is_full_at_full_scale_and_empty_at_silence() -> None:
    assert level_bar(0.0, 4) == "▮▮▮▮"
    assert level_bar(-30.0, 4) == "▮▮··"
    assert level_bar(-90.0, 4) == level_bar(None, 4) == "····"


def test_changes_tell_each_thing_once() -> None:
    lines = changes({}, sample_picture())
    assert "component:transcoder-ch1 is down (3 scrapes refused)" in lines
    assert "cause: component:transcoder-ch1:crash (93%)" in lines
    assert "step: decide, incident diagnosed" in lines
    assert any(line.startswith("finding: 18:00:05  rule  component:transcoder-ch1") for line in lines)
    assert "model transcode 2 scores from now on" in lines
    assert changes(sample_picture(), sample_picture()) == []


def test_levels_alone_are_no_change() -> None:
    louder = sample_picture(sound={"rendition:ch1/aac-64": {"lufs": -12.0}}, tick=43)
    assert changes(sample_picture(), louder) == []


def test_recovery_and_end_of_incident_are_changes() -> None:
    calm = sample_picture(incidents=[])
    calm["entities"] = {name: state | {"health": "ok", "note": ""} for name, state in calm["entities"].items()}
    lines = changes(sample_picture(), calm)
    assert "component:transcoder-ch1 is ok" in lines
    assert "incident over: ch1 carries no sound" in lines


def test_control_characters_of_the_outside_do_not_reach_a_log() -> None:
    out = io.StringIO()
    PlainView(out).say("evil \x1b[2J\r\nname\x9b")
    assert out.getvalue() == "[ 0:00] evil  [2J name\n"


def test_plain_view_beats_when_nothing_changes() -> None:
    out, clock = io.StringIO(), ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    view = PlainView(out, clock)
    scene = Scene("learning", 1.0, sample_picture(), done=3.0, of=180.0)
    view.show(scene)
    said = out.getvalue().count("\n")
    clock.advance(HEARTBEAT_SECONDS - 1)
    view.show(scene)
    assert out.getvalue().count("\n") == said
    clock.advance(1)
    view.show(scene)
    assert out.getvalue().splitlines()[-1] == f"[ 0:15] {heartbeat(scene)}"
    assert "learning, 3 of 180 s; 5 of 8 parts ok; players 20" in out.getvalue()


def test_output_that_is_no_terminal_gets_plain_lines() -> None:
    out = io.StringIO()
    with open_view(out) as view:
        view.say("hello")
        view.show(Scene("x", 0.0, sample_picture()))
    assert "\x1b" not in out.getvalue()
    assert "[ 0:00] hello" in out.getvalue()
