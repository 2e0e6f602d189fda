"""From rows to a report's figures, its words and its picture."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from PIL import Image

from policy.period import Period, bars
from tasks.draw import HEIGHT_PX, WIDTH_PX, alternative, picture
from tasks.phrase import LISTED, plain, rich, subject
from tasks.summarise import FATES, Read, Summary, fate, summarise
from tonewatch.settings import Profile
from warehouse.weekly import ChannelTime, Deed, IncidentLine

MONDAY = datetime(2026, 6, 29, tzinfo=UTC)
WEEK = Period(MONDAY, MONDAY + timedelta(days=7))
MADE = WEEK.end + timedelta(hours=6)


def incident(id_: str = "i1", **more: Any) -> IncidentLine:
    onset = MONDAY + timedelta(hours=10)
    end = onset + timedelta(seconds=60)
    known = IncidentLine(
        id_, "closed", "major", "it broke", onset, onset + timedelta(seconds=4), onset, end, 3.0, "measured",
        "component:packager", "hang", True, "",
    )  # fmt: skip
    return replace(known, **more)


def deed(incident_id: str = "i1", **more: Any) -> Deed:
    decided = MONDAY + timedelta(hours=11)
    known = Deed(
        incident_id, "restart", "component:packager", 1, "finished", "act", "", (), "worked", False, decided
    )  # fmt: skip
    return replace(known, **more)


def summary(*incidents: IncidentLine, deeds: tuple[Deed, ...] = (), period: Period = WEEK, lost: int = 600) -> Summary:
    heard = [(bar, [ChannelTime("channel:ch1", lost, 60_000_000)]) for bar in bars(period, 86_400)]
    return summarise("t", period, MADE, Read(heard, incidents, deeds, 0, ()), Profile(description=""))


def test_the_last_verdict_decides_whether_anything_was_saved() -> None:
    later = deed(attempt=2, outcome="harmed", decided=MONDAY + timedelta(hours=12))
    assert summary(incident(), deeds=(deed(),)).uncontrolled.count == 1
    assert summary(incident(), deeds=(deed(), later)).uncontrolled.count == 0
    assert summary(incident(), deeds=(later, deed())).uncontrolled.count == 0


@pytest.mark.parametrize(
    "of",
    [{"judged": "false-alarm"}, {"state": "handed-over"}, {"state": "verifying"}],
)
def test_nothing_is_saved_where_nothing_was_wrong_or_nothing_is_over(of: dict[str, str]) -> None:
    found = summary(incident(**of), deeds=(deed(),))
    assert (found.uncontrolled.count, found.uncontrolled.unknown, found.saved_minutes) == (0, 0, 0)
    assert found.repaired is None


@pytest.mark.parametrize("outcome", ["harmed", "inconclusive", ""])
def test_nothing_is_saved_without_the_verdict_that_it_worked(outcome: str) -> None:
    decided = None if outcome == "" else MONDAY
    assert summary(incident(), deeds=(deed(outcome=outcome, decided=decided),)).saved_minutes == 0


def test_a_loss_that_was_not_measured_is_marked_as_inferred() -> None:
    found = summary(incident(basis="inferred"), incident("i2"), deeds=(deed(), deed("i2")))
    assert found.uncontrolled.inferred_minutes == pytest.approx(found.uncontrolled.minutes / 2) == pytest.approx(42)
    assert "42.00 of them inferred" in plain(found)


def test_where_no_player_reports_the_incidents_own_count_is_what_was_lost() -> None:
    read = Read([(bar, []) for bar in bars(WEEK, 86_400)], (incident(basis="inferred", lost=33.0),), (), 0, ())
    text = plain(summarise("t", WEEK, MADE, read, Profile(description="")))
    assert "no data: players' reports tell it, and none came in this time" in text
    assert "Lost: 33.00 (listener-minutes, by the incidents' own count)" in text
    assert "33.00 listener-minutes inferred from how many listened before" in text


def test_commands_in_the_report_name_the_tenant_and_the_state_folder() -> None:
    many = [incident(f"m{n:03d}") for n in range(LISTED + 1)]
    for where, named in (("", ""), ("/srv/two words", " --state-dir '/srv/two words'")):
        text = plain(replace(summary(*many), state_dir=where))
        assert f"`tonewatch incidents close ID --verdict real|false-alarm|planned --tenant t{named}`" in text
        assert f"`tonewatch incidents list --tenant t{named}`" in text


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({"controlled": True}, "worked (controlled)"),
        ({}, "worked (uncontrolled)"),
        ({"outcome": "harmed", "state": "failed"}, "harmed"),
        ({"outcome": "", "state": "finished"}, "not judged yet"),
        ({"outcome": "", "state": "refused"}, "refused"),
        ({"outcome": "", "state": "failed"}, "failed"),
        ({"outcome": "", "state": "started"}, "under way"),
        ({"outcome": "", "state": "intended"}, "under way"),
    ],
)
def test_every_action_has_one_fate(of: dict[str, Any], expected: str) -> None:
    assert fate(deed(**of)) == expected
    assert expected in FATES


def test_a_quiet_week_says_so_in_full() -> None:
    text = plain(summary(lost=0))
    for part in ("100.0000 %, kept", "Actions  none", r"By severity +none", "0, within the budget"):
        assert re.search(part, text)
    assert subject(summary(lost=0)).endswith("100.0000 % available, 0 incidents")


def test_a_mail_lists_the_gravest_and_counts_all() -> None:
    many = [incident(f"m{n:03d}", severity="minor", lost=float(n)) for n in range(50)]
    text = plain(summary(*many, incident("worst", severity="critical", lost=0.0)))
    assert re.search(r"Opened +51\n", text)
    assert "critical, closed: worst" in text
    assert "m049" in text
    assert "m030" not in text
    assert text.count("  minor, closed: m") == LISTED - 1
    assert "31 more, less grave" in text


def test_a_guard_that_refused_is_named_with_what_it_refused() -> None:
    text = plain(summary(incident(), deeds=(deed(state="refused", outcome="", refused_by=("blast-radius",)),)))
    assert "restart of component:packager: refused by blast-radius" in text
    assert re.search(r"Refused by +blast-radius \(1\)", text)


def test_the_picture_is_dark_on_light_sharp_at_600_pixels_and_the_same_for_the_same_week() -> None:
    found = summary(incident())
    drawn = picture(found)
    assert drawn == picture(found)
    assert len(drawn) < 100_000
    image = Image.open(io.BytesIO(drawn)).convert("L")
    assert image.size == (2 * WIDTH_PX, 2 * HEIGHT_PX)
    shades = image.histogram()
    assert image.getpixel((2, 2)) == 255
    assert sum(shades[200:]) > 0.7 * image.width * image.height
    assert sum(shades[:80]) > 1000


def test_more_minutes_lost_make_a_bigger_bar() -> None:
    period = Period(MONDAY, MONDAY + timedelta(days=2))
    heard = [(bar, [ChannelTime("c", 60_000 * (1 + 3 * n), 10**8)]) for n, bar in enumerate(bars(period, 86_400))]
    found = summarise("t", period, MADE, Read(heard, (), (), 0, ()), Profile(description=""))
    image = Image.open(io.BytesIO(picture(found))).convert("RGB")
    blue = [[image.getpixel((x, y)) == (31, 111, 139) for y in range(image.height)] for x in (360, 920)]
    left, right = (sum(column) for column in blue)
    assert right == pytest.approx(4 * left, abs=4 * 3)  # the edges of a bar are blended, three rows of pixels at most


def test_a_year_has_a_picture_too() -> None:
    year = Period(MONDAY - timedelta(days=366), MONDAY)
    found = summary(period=year)
    assert len(found.bars) == 53
    assert picture(found).startswith(b"\x89PNG")
    assert "per week" in alternative(found)


def test_what_comes_from_outside_is_escaped() -> None:
    evil = '<script>alert(1)</script>" onload="x'
    page = rich(summary(incident(title=evil, cause_entity=evil)), "cid:x")
    assert "<script" not in page
    assert 'onload="' not in page
