"""The campaign `learned`, as far as it needs no stack: after an hour and a half it must not end in a wrong page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.campaign.chain import Page, per_week
from tests.campaign.learned_page import STEPS, Told, figures_of, page
from tests.campaign.timekeeper import FIRST, LEFT_OUT, SELDOM, hours_between
from tonewatch.records import Incident, IncidentState
from tonewatch.settings import load_profile

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEPLOYMENTS = yaml.safe_load((Path(__file__).resolve().parents[1] / "deployments" / "prefect.yaml").read_text())


def minutes(count: float) -> datetime:
    return NOON + timedelta(minutes=count)


def told(missed: str = "", steps: tuple[str, ...] = tuple(STEPS)) -> Told:
    incident = Incident("i", "demo", IncidentState.HANDED_OVER, minutes(21), minutes(21), "edge | unlike its calm")
    moments = {"champions": minutes(0), "changed": minutes(21), "taken": minutes(42), "end": minutes(63)}
    reached = {name: {"day": 10.0 + number, "at": "", "words": name} for number, name in enumerate(steps)}
    runs = [{"deployment": "drift", "state": state, "seconds": 9.0} for state in ("Completed", "Failed")]
    model = {"family": "edge", "version": "1", "judges": False, "aliases": ["previous"], "gate": "passed"}
    models = [model | {"gate_reason": "", "run": "abc"}]
    pages = [Page(incident, ("isolation-forest:edge 1",))]
    return Told(reached, missed, moments, pages, runs, models, 63.0, 0, load_profile("demo"))


def written(of: Told) -> str:
    figures = figures_of(of)
    goals = {"pages_week_after": "at most 0.05"}
    document = {"figures": figures, "goals": goals, "steps": of.reached, "counted": of.counted(), "missed": of.missed}
    rows = [{"opened": "2026-03-01T12:21:00", "state": "handed-over", "title": "a | b", "told_by": ["forest"]}]
    about = {"data": "", "commit": "", "machine": "", "seconds": 60, "date": "", "seed": 1}
    return page(document | about | {"pages": rows, "runs": of.runs, "models": of.models})


def test_every_schedule_is_kept_or_left_out_with_its_reason() -> None:
    crons = {each["name"]: [one["cron"] for one in each.get("schedules") or []] for each in DEPLOYMENTS["deployments"]}
    assert {*FIRST, *LEFT_OUT, *SELDOM} <= set(crons)
    kept = {name: min(map(hours_between, found)) for name, found in crons.items() if found and name not in LEFT_OUT}
    assert kept["drift"] == 6
    assert kept["validation"] == 1


def test_a_schedule_of_months_is_refused() -> None:
    assert [hours_between(each) for each in ("0 3 * * *", "0 6 * * 1", "50 */6 * * *")] == [24, 168, 6]
    with pytest.raises(ValueError, match="no schedule of hours"):
        hours_between("0 3 1 * *")


def test_pages_are_counted_from_one_moment_up_to_the_next() -> None:
    opened = [minutes(0), minutes(5), minutes(10.5)]
    assert per_week(opened, minutes(0), minutes(10.5), 630.0) == {"pages": 2, "weeks": 1.0, "pages_per_week": 2.0}


def test_figures_tell_moments_after_the_change_and_pages_before_and_after() -> None:
    figures = figures_of(told())
    assert figures["steps"] == "11 of 11"
    assert (figures["drift_days"], figures["promotion_days"], figures["taken_up_days"]) == (1.0, 5.0, 6.0)
    assert [figures[f"pages_week_{phase}"] for phase in ("calm", "drifted", "after")] == [0.0, 0.5, 0.0]
    assert (figures["runs"], figures["runs_failed"]) == ({"drift": 2}, 1)
    assert figures["starved_share"] == pytest.approx(63 / 3780, abs=1e-4)


def test_a_step_that_was_not_reached_is_told_first() -> None:
    text = written(told("drift: none is told", ("champions", "shape")))
    assert "**Not reached: drift: none is told**" in text
    assert text.count("| not reached |") == len(STEPS) - 2
    assert "a \\| b" in text
