"""The report of one incident, from a dossier made by hand."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.report import Dossier, Line, as_html, as_markdown, chart, charted_window, charts, escape_markdown, worst
from tonewatch.records import (
    Action,
    ActionState,
    Cause,
    CauseKind,
    Finding,
    FindingKind,
    GuardAnswer,
    Incident,
    IncidentState,
    Notice,
    NoticeState,
    Outcome,
    Sample,
    Series,
    Verdict,
)

ONSET = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVIL = '<script>alert("x")</script> | # [a](http://b) \x1b[2J\nsecond'


def after(seconds: float) -> datetime:
    return ONSET + timedelta(seconds=seconds)


@pytest.fixture
def dossier() -> Dossier:
    incident = Incident(
        id="inc-1",
        tenant="demo",
        state=IncidentState.CLOSED,
        onset=ONSET,
        opened=after(4.2),
        title="Channel ch1 carries no sound",
        entities=("component:transcoder-ch1",),
        impact_started=after(6),
        impact_ended=after(27.5),
        listener_minutes_lost=2.345,
        loss_basis="measured",
        severity="major",
        closed=after(60),
    )
    action = Action(
        incident="inc-1",
        runbook="restart",
        target="component:transcoder-ch1",
        attempt=1,
        state=ActionState.FINISHED,
        autonomy="act",
        guards=(GuardAnswer("grant", True, "granted by the owner"), GuardAnswer("rate", False, "too many")),
        intended=after(9),
        started=after(9.5),
        finished=after(11),
    )
    playlist = Series("rendition:ch1/aac-128", "probe_playlist_age_seconds", unit="s")
    starved = Series("channel:ch1", "sessions_starved_ratio")
    return Dossier(
        incident=incident,
        story=(Line(4.2, after(4.2), "detect", "metrics refused", "3 scrapes in a row"),),
        findings=(
            Finding(
                "demo",
                "component:transcoder-ch1",
                "rule:scrape-down",
                FindingKind.RULE,
                after(1),
                after(4),
                "metrics refused",
                "scrape-refused",
                expected="200",
                actual="connection refused",
            ),
        ),
        causes=(
            Cause("inc-1", 1, "component:transcoder-ch1", CauseKind.CRASH, 0.93, ("the process is gone",), ("a:b",)),
        ),
        actions=(action,),
        verdicts=(
            Verdict(
                action.key,
                "inc-1",
                Outcome.WORKED,
                controlled=True,
                decided=after(40),
                slis={"starved": {"before": 0.4567, "after": 0.0, "interval": [0.0, 0.01]}},
                reason="back in band for 3 readings",
            ),
        ),
        notices=(
            Notice("demo", "inc-1", "opened", "L1", "email", "no sound", "b", created=after(5), state=NoticeState.SENT),
        ),
        samples=tuple(Sample(playlist, after(t), 2.0 + max(0, t) / 5) for t in range(-60, 60))
        + tuple(Sample(starved, after(t), 0.45 if 6 < t < 27 else 0.0) for t in range(-60, 60, 5)),
    )


@pytest.mark.parametrize(
    "told",
    [
        "Channel ch1 carries no sound",
        "component:transcoder-ch1:crash",
        "93 %",
        "the process is gone",
        "granted by the owner",
        "too many",
        "worked",
        "controlled",
        "before 0.457",
        "interval 0 to 0.01",
        "2.35",
        "measured",
        "connection refused",
        "3 scrapes in a row",
        "4.2 s",
        "21.5 s",
        "no sound",
        "Sessions without sound: at most 45 % (channel:ch1, +10 s)",
    ],
)
def test_report_tells(dossier: Dossier, told: str) -> None:
    assert told in as_html(dossier)
    assert told in as_markdown(dossier)


def test_report_of_a_bare_incident_says_what_is_missing(dossier: Dossier) -> None:
    bare = Dossier(replace(dossier.incident, impact_started=None, impact_ended=None, closed=None))
    for text in (as_html(bare), as_markdown(bare)):
        for sentence in ("No cause was named", "Nothing was done", "Nobody was told", "none seen", "not yet"):
            assert sentence in text


def test_action_without_verdict_says_so(dossier: Dossier) -> None:
    assert "No verdict" in as_html(replace(dossier, verdicts=()))


def test_html_escapes_what_came_from_outside(dossier: Dossier) -> None:
    evil = replace(dossier, incident=replace(dossier.incident, title=EVIL))
    assert "<script>" not in as_html(evil)
    named = replace(dossier, samples=(Sample(Series('channel:"><script>', "sessions_starved_ratio"), ONSET, 1.0),))
    assert "<script>" not in as_html(named)


def test_markdown_escapes_what_came_from_outside(dossier: Dossier) -> None:
    heading = as_markdown(replace(dossier, incident=replace(dossier.incident, title=EVIL))).splitlines()[0]
    assert heading == r'# \<script\>alert("x")\</script\> \| \# \[a\](http://b)  \[2J second'


def test_names_with_underscores_stay_readable_in_markdown() -> None:
    assert escape_markdown("probe_playlist_age _x_") == r"probe_playlist_age \_x\_"


def test_markdown_tables_are_whole(dossier: Dossier) -> None:
    lines = as_markdown(dossier).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
    header = lines.index("| guard | answer | reason |")
    assert lines[header + 2] == "| grant | allowed | granted by the owner |"


def test_charts_are_well_formed_and_marked(dossier: Dossier) -> None:
    drawn = charts(dossier)
    assert len(drawn) == 2
    for drawing in drawn:
        tree = ET.fromstring(str(drawing))
        text = " ".join(tree.itertext())
        assert "restart +10 s" in text
        assert "impact ended +28 s" in text


def test_chart_survives_one_point_and_not_a_number(dossier: Dossier) -> None:
    ET.fromstring(str(chart("t", {"x": [(0.0, 0.0)]}, {})))
    broken = replace(dossier, samples=(Sample(Series("channel:a", "sessions_starved_ratio"), ONSET, float("nan")),))
    assert charts(broken) == []
    assert worst(broken) == []


def test_chart_stays_small_however_many_points() -> None:
    assert len(chart("t", {"x": [(float(n), 1.0) for n in range(100_000)]}, {})) < 20_000


def test_charted_window_is_an_hour_at_most(dossier: Dossier) -> None:
    start, end = charted_window(replace(dossier.incident, closed=after(86400)))
    assert (end - start) <= timedelta(hours=1, minutes=2)
