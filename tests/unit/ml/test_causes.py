from __future__ import annotations

import pytest

from ml.causes import Signs, rank
from policy.guardrails import LEAST_CONFIDENCE
from tests.unit.platform_parts import at, two_channels
from tonewatch.records import Cause, CauseKind, Change

TOPOLOGY = two_channels()
TRANSCODER = "component:transcoder-ch1"


def signs(entity: str, *symptoms: str, state: str | None = None, detail: str = "") -> Signs:
    return Signs(entity, frozenset(symptoms), state, detail)


def first(*seen: Signs) -> Cause:
    return rank(seen, TOPOLOGY, "i1")[0]


def test_ended_process_is_a_crash_certain_enough_to_act_on() -> None:
    cause = first(signs(TRANSCODER, "scrape-refused", state="EXITED"), signs("rendition:ch1/aac-128", "playlist-stale"))
    assert cause.name == "component:transcoder-ch1:crash"
    assert cause.confidence >= LEAST_CONFIDENCE
    assert cause.path[0] == TRANSCODER
    assert cause.path[-1] == "channel:ch1"


def test_ended_process_that_raised_no_finding_is_named_all_the_same() -> None:
    seen = [signs("rendition:ch1/aac-128", "playlist-stale"), signs(TRANSCODER, state="EXITED")]
    assert first(*seen).name == "component:transcoder-ch1:crash"


def test_refused_scrapes_without_the_supervisors_word_are_too_little_to_act_on() -> None:
    cause = first(signs(TRANSCODER, "scrape-refused"))
    assert cause.kind is CauseKind.CRASH
    assert cause.confidence < LEAST_CONFIDENCE


def test_running_process_that_does_not_answer_hangs() -> None:
    assert first(signs(TRANSCODER, "scrape-timeout", state="RUNNING")).kind is CauseKind.HANG


def test_running_process_that_refuses_is_too_uncertain_to_act_on() -> None:
    assert first(signs(TRANSCODER, "scrape-refused", state="RUNNING")).confidence < LEAST_CONFIDENCE


def test_upstream_change_of_state_outranks_its_consequence() -> None:
    ranked = rank(
        [signs(TRANSCODER, "scrape-refused", state="EXITED"), signs("component:ingest-ch1", state="EXITED")],
        TOPOLOGY,
        "i1",
    )
    assert [cause.entity for cause in ranked] == ["component:ingest-ch1", TRANSCODER]
    assert [cause.rank for cause in ranked] == [1, 2]


def test_symptoms_without_a_change_of_state_are_of_unknown_cause() -> None:
    cause = first(signs("channel:ch1", "listeners-starved"), signs("rendition:ch1/aac-128", "playlist-stale"))
    assert cause.kind is CauseKind.UNKNOWN
    assert cause.entity == "rendition:ch1/aac-128"
    assert cause.confidence < 0.5


def test_every_cause_says_why() -> None:
    assert all(cause.evidence for cause in rank([signs(TRANSCODER, "anomaly")], TOPOLOGY, "i1"))


def test_part_that_somebody_stopped_is_planned_work_and_no_crash() -> None:
    cause = first(signs(TRANSCODER, "scrape-refused", state="STOPPED"))
    assert cause.kind is CauseKind.PLANNED_WORK


def test_part_that_has_come_back_does_not_cast_doubt_on_another() -> None:
    cause = first(
        signs(TRANSCODER, "scrape-refused", state="RUNNING"),
        signs("component:origin", "scrape-refused", state="EXITED"),
    )
    assert cause.name == "component:origin:crash"
    assert cause.confidence >= LEAST_CONFIDENCE


RELEASE = Change("c1", "release", "component:packager", at(0), None, "ops", "shorter playlists")


def released(*symptoms: str) -> Signs:
    return Signs("component:packager", frozenset(symptoms), "RUNNING", changed=RELEASE)


def test_release_before_broken_playlists_is_certain_enough_to_roll_back() -> None:
    seen = [released(), signs("rendition:ch1/aac-128", "playlist-broken")]
    cause = rank(seen, TOPOLOGY, "i1", at(5))[0]
    assert cause.name == "component:packager:bad-release"
    assert cause.confidence >= LEAST_CONFIDENCE
    assert any("shorter playlists" in line for line in cause.evidence)


def test_release_is_not_blamed_for_a_part_that_died() -> None:
    seen = [released(), signs("component:origin", "scrape-refused", state="EXITED")]
    assert rank(seen, TOPOLOGY, "i1", at(5))[0].name == "component:origin:crash"


def test_release_after_which_playlists_are_only_late_is_too_uncertain_to_act_on() -> None:
    seen = [released(), signs("rendition:ch1/aac-128", "playlist-stale")]
    cause = rank(seen, TOPOLOGY, "i1", at(300))[0]
    assert cause.kind is CauseKind.BAD_RELEASE
    assert cause.confidence < LEAST_CONFIDENCE


@pytest.mark.parametrize(
    ("entity", "symptom", "kind"),
    [
        ("component:source-ch1-primary", "source-silent", CauseKind.SOURCE_SILENT),
        ("edge:edge-1", "path-slow", CauseKind.LATENCY),
    ],
)
def test_what_was_compared_with_its_like_is_certain_enough_to_act_on(
    entity: str, symptom: str, kind: CauseKind
) -> None:
    cause = first(signs(entity, symptom, state="RUNNING"))
    assert (cause.entity, cause.kind) == (entity, kind)
    assert cause.confidence >= LEAST_CONFIDENCE


def test_announced_stop_is_planned_work_by_the_one_who_announced_it() -> None:
    work = Change("c2", "maintenance", TRANSCODER, at(0), at(60), "anna", "new disk")
    cause = first(Signs(TRANSCODER, frozenset({"scrape-refused"}), "STOPPED", planned=work))
    assert cause.kind is CauseKind.PLANNED_WORK
    assert any("anna" in line for line in cause.evidence)


def test_part_that_does_not_answer_while_everybody_lags_is_too_uncertain_to_act_on() -> None:
    hanging = Signs(TRANSCODER, frozenset({"scrape-timeout"}), "RUNNING", strained=True)
    assert first(hanging).confidence < LEAST_CONFIDENCE
    assert first(signs(TRANSCODER, "scrape-timeout", state="RUNNING")).confidence >= LEAST_CONFIDENCE
