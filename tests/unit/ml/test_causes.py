from __future__ import annotations

from ml.causes import Signs, rank
from policy.guardrails import LEAST_CONFIDENCE
from tests.unit.platform_parts import two_channels
from tonewatch.records import Cause, CauseKind

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
