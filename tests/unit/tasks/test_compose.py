from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gateway.links import HEADING
from tasks.compose import Story, Ways, collected, plain, rich
from tonewatch.records import (
    Action,
    ActionState,
    Cause,
    CauseKind,
    GuardAnswer,
    Incident,
    IncidentState,
    Notice,
    Outcome,
    Verdict,
)
from warehouse.sessions import Audience

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
PART = "component:transcoder-ch1"
INCIDENT = Incident("i1", "radio", IncidentState.HANDED_OVER, START, START, "it is down", (PART,))
CAUSE = Cause("i1", 1, PART, CauseKind.CRASH, 0.93)
PROPOSED = Action(
    "i1",
    "restart",
    PART,
    1,
    ActionState.REFUSED,
    "propose",
    guards=(GuardAnswer("switched-on", True, "yes"), GuardAnswer("owner-granted", False, "no grant")),
    undo="none",
)


def story(state: str = "handed-over", **more: object) -> Story:
    told = Story(INCIDENT, state, [CAUSE], [PROPOSED], [], START + timedelta(minutes=20))
    return replace(told, **more)  # type: ignore[arg-type]


def test_a_proposal_is_told_with_what_each_guard_said_and_how_to_answer() -> None:
    text = plain(story("proposed"))
    assert "restart of component:transcoder-ch1 (attempt 1, autonomy propose)" in text
    assert "- switched-on said yes: yes" in text
    assert "- owner-granted said no: no grant" in text
    for act in ("approve", "veto", "ack"):
        assert f"`tonewatch incidents {act} i1 --tenant radio --reason" in text


def test_an_action_about_to_begin_can_be_vetoed_and_needs_no_approval() -> None:
    text = plain(story("opened", actions=[replace(PROPOSED, state=ActionState.INTENDED, autonomy="veto")]))
    assert "incidents veto i1" in text
    assert "incidents approve" not in text


def test_a_hand_over_says_how_to_close_it() -> None:
    text = plain(story())
    assert "incidents close i1 --verdict real|false-alarm|planned --tenant radio" in text
    assert "will not act further" in text


def test_a_drained_edge_is_told_how_to_be_admitted_again() -> None:
    drained = replace(PROPOSED, runbook="drain", target="edge:edge-2", state=ActionState.FINISHED)
    mended = replace(INCIDENT, state=IncidentState.MENDED)
    worked = Verdict(drained.key, "i1", Outcome.WORKED, True, START)
    text = plain(story("mended", incident=mended, actions=[drained], verdicts=[worked]))
    assert "edge:edge-2 gets no listeners until you admit it again" in text
    assert "ROUTING/admit/edge-2" in text
    assert "Nothing else" not in text


def test_commands_name_the_state_folder_where_they_would_not_find_it() -> None:
    told = [plain(story(state, ways=Ways(state_dir="/srv/two words"))) for state in ("handed-over", "proposed", "over")]
    printed = [command for text in told for command in re.findall(r"`(tonewatch [^`]*)`", text)]
    assert len(printed) >= 8
    assert not [command for command in printed if "--state-dir '/srv/two words'" not in command]
    assert "--state-dir" not in plain(story())


def test_links_that_work_on_one_machine_alone_say_so() -> None:
    here, anywhere = (plain(story(ways=Ways(links=True, here_only=only))) for only in (True, False))
    assert "These links work on the machine of Tonewatch alone: TONEWATCH_GATEWAY_URL is not set" in here
    assert "alone" not in anywhere
    assert HEADING in anywhere


def test_a_mended_incident_leaves_nothing_to_do() -> None:
    restarted = replace(PROPOSED, state=ActionState.FINISHED)
    text = plain(story("mended", actions=[restarted]))
    assert "Nothing else is to be done" in text
    assert "approve" not in text


def test_listeners_are_counted_by_channel() -> None:
    text = plain(story(audience=[Audience("channel:ch1", 10, 20), Audience("channel:ch2", 0, 5)]))
    assert "10 of 25 sessions have lost sound since the onset: channel:ch1 10 of 20, channel:ch2 0 of 5" in text
    assert "No player has reported since the onset" in plain(story())


def test_minutes_that_are_inferred_say_from_what_and_not_that_nobody_is_known() -> None:
    text = plain(story(incident=replace(INCIDENT, loss_basis="inferred", listener_minutes_lost=12.0)))
    assert "Players send no reports: who listened is told by the server's own count" in text
    assert "12.0 listener-minutes lost so far (inferred from how many listened before)" in text
    assert "No player has reported" not in text


def test_a_higher_level_says_how_long_nobody_answered() -> None:
    text = plain(story(level="L2", unanswered_since=START))
    assert text.startswith("L2, unanswered for 20 min. Over to you: it is down\n")


def notice(state: str, seconds: float, **more: object) -> Notice:
    created = START + timedelta(seconds=seconds)
    made = Notice("radio", "i1", state, "L1", "email", "Re: down", "body\n", rich(story(state)), created=created)
    return replace(made, **more)  # type: ignore[arg-type]


def test_a_notice_that_stands_for_earlier_ones_names_them() -> None:
    told = collected(notice("mended", 60), [notice("opened", 5), notice("acted", 9)], first=True)
    for text in (told.body, told.html):
        assert "opened at 2026-01-01 12:00:05 UTC, acted at 2026-01-01 12:00:09 UTC" in text
    assert told.html.endswith("</body></html>")
    assert told.html.count("</body>") == 1
    assert told.subject == "down"
    assert told.id == notice("mended", 60).id


def test_a_notice_whose_thread_has_begun_keeps_its_subject_and_plain_channels_get_no_html() -> None:
    told = collected(notice("mended", 60, html=""), [notice("acted", 9)], first=False)
    assert told.subject == "Re: down"
    assert told.html == ""
