from __future__ import annotations

import pytest

from policy.grouping import Group, explained, group
from tests.unit.platform_parts import at, two_channels
from tonewatch.records import Change, Finding, FindingKind

TOPOLOGY = two_channels()


def finding(
    entity: str, seconds: float, kind: FindingKind = FindingKind.RULE, symptom: str = "playlist-stale"
) -> Finding:
    return Finding("demo", entity, f"rule:{symptom}", kind, at(seconds), at(seconds + 3), "s", symptom)


def died(entity: str, seconds: float) -> Finding:
    return finding(entity, seconds, symptom="scrape-refused")


def test_downstream_findings_join_the_group_of_their_cause() -> None:
    found = [
        finding("component:transcoder-ch1", 0),
        finding("rendition:ch1/aac-128", 4),
        finding("channel:ch1", 6),
    ]
    (one,) = group(found, [], TOPOLOGY)
    assert (one.root, len(one.findings), one.onset) == ("component:transcoder-ch1", 3, at(0))


def test_root_moves_upstream_when_an_earlier_stage_is_found_later() -> None:
    found = [finding("rendition:ch1/aac-128", 0), finding("component:ingest-ch1", 2)]
    (one,) = group(found, [], TOPOLOGY)
    assert one.root == "component:ingest-ch1"


def test_two_channels_faults_at_once_stay_two() -> None:
    found = [died("component:transcoder-ch1", 0), died("component:transcoder-ch2", 0)]
    assert len(group(found, [], TOPOLOGY)) == 2


def test_late_finding_joins_the_active_incident() -> None:
    active = Group("i1", "component:transcoder-ch1", at(0))
    (one,) = group([finding("channel:ch1", 30)], [active], TOPOLOGY)
    assert one.incident == "i1"


def test_unrelated_finding_opens_another_incident() -> None:
    active = Group("i1", "component:transcoder-ch1", at(0))
    (one,) = group([finding("channel:ch2", 30)], [active], TOPOLOGY)
    assert one.incident is None


def test_anomaly_alone_opens_an_incident_only_if_it_lasts() -> None:
    anomaly = finding("component:origin", 0, FindingKind.SIGNAL)
    assert group([anomaly], [], TOPOLOGY) == []
    (one,) = group([anomaly], [], TOPOLOGY, {anomaly.id})
    assert one.root == "component:origin"


def test_anomaly_joins_what_a_rule_of_the_same_round_opens() -> None:
    anomaly = finding("component:origin", 0, FindingKind.SIGNAL)
    (one,) = group([anomaly, finding("component:transcoder-ch1", 2)], [], TOPOLOGY)
    assert len(one.findings) == 2


def test_upstream_part_that_breaks_long_after_the_onset_is_another_incident() -> None:
    active = Group("i1", "component:origin", at(0))
    (soon,) = group([finding("component:transcoder-ch1", 10)], [active], TOPOLOGY)
    assert soon.incident == "i1"
    (late,) = group([finding("component:transcoder-ch1", 40)], [Group("i1", "component:origin", at(0))], TOPOLOGY)
    assert late.incident is None


def test_bad_data_and_a_starved_host_open_nothing() -> None:
    found = [finding("component:origin", 0, FindingKind.DATA), finding("host:watcher", 0, FindingKind.HOST)]
    assert group(found, [], TOPOLOGY) == []


def test_finding_that_ended_long_before_the_onset_does_not_join() -> None:
    active = Group("i1", "component:transcoder-ch1", at(600))
    (one,) = group([finding("channel:ch1", 0)], [active], TOPOLOGY)
    assert one.incident is None


def test_part_that_dies_downstream_of_an_old_incident_is_an_incident_of_its_own() -> None:
    mended = Group("i1", "component:transcoder-ch1", at(0))
    found = [
        finding("edge:edge-1", 62, symptom="upstream-errors"),
        died("component:origin", 60),
        finding("channel:ch1", 70, symptom="listeners-starved"),
    ]
    (other,) = group(found, [mended], TOPOLOGY)
    assert (other.incident, other.root) == (None, "component:origin")
    assert len(other.findings) == 3


def test_two_parts_of_one_chain_that_die_at_once_stay_two() -> None:
    found = [died("component:transcoder-ch1", 0), died("edge:edge-1", 1)]
    assert len(group(found, [], TOPOLOGY)) == 2


def change(kind: str, entity: str, started: float, ended: float | None = None) -> Change:
    return Change(f"c-{started}", kind, entity, at(started), None if ended is None else at(ended), "ops", "words")


def test_consequences_with_something_upstream_in_common_are_one_incident() -> None:
    found = [finding("rendition:ch1/aac-128", 0), finding("rendition:ch2/aac-128", 1)]
    (one,) = group(found, [], TOPOLOGY)
    assert len(one.findings) == 2


def test_consequence_does_not_join_what_is_known_to_be_another_channels_fault() -> None:
    known = Group("i1", "component:transcoder-ch1", at(0), changed=True)
    (one,) = group([finding("rendition:ch2/aac-128", 5)], [known], TOPOLOGY)
    assert one.incident is None


def test_consequences_after_a_release_are_one_incident_about_what_was_released() -> None:
    found = [finding(f"rendition:{ch}/aac-128", 20, symptom="playlist-broken") for ch in ("ch1", "ch2")]
    (one,) = group(found, [], TOPOLOGY, changes=[change("release", "component:packager", 10)])
    assert one.root == "component:packager"


def test_part_that_dies_after_a_release_elsewhere_keeps_its_own_incident() -> None:
    released = [change("release", "component:packager", 10)]
    (one,) = group([died("component:transcoder-ch1", 20)], [], TOPOLOGY, changes=released)
    assert one.root == "component:transcoder-ch1"


def test_consequence_of_a_later_release_does_not_join_an_older_incident() -> None:
    mended = Group("i1", "component:transcoder-ch1", at(0), changed=True)
    found = [finding("rendition:ch1/aac-128", 50, symptom="playlist-broken")]
    (one,) = group(found, [mended], TOPOLOGY, changes=[change("release", "component:packager", 40)])
    assert (one.incident, one.root) == (None, "component:packager")


WORK = change("maintenance", "component:packager", 10, 40)


@pytest.mark.parametrize("entity", ["component:packager", "rendition:ch1/aac-128", "channel:ch2"])
def test_announced_work_explains_its_part_and_what_lies_behind_it(entity: str) -> None:
    symptom = "scrape-refused" if entity == "component:packager" else "playlist-stale"
    assert explained(finding(entity, 15, symptom=symptom), [WORK], TOPOLOGY, at(20), held=True) is WORK


def test_announced_work_does_not_explain_what_came_before_or_lies_elsewhere() -> None:
    assert explained(finding("component:packager", -60), [WORK], TOPOLOGY, at(20), held=True) is None
    assert explained(finding("component:ingest-ch1", 15), [WORK], TOPOLOGY, at(20), held=True) is None


@pytest.mark.parametrize("symptom", ["scrape-refused", "path-slow"])
def test_announced_work_does_not_hide_another_parts_change_of_state(symptom: str) -> None:
    other = finding("component:origin", 15, symptom=symptom)
    assert explained(other, [WORK], TOPOLOGY, at(20), held=True) is None


def test_what_outlasts_the_announced_work_is_explained_by_it_no_more() -> None:
    seen = died("component:packager", 15)
    assert explained(seen, [WORK], TOPOLOGY, at(70), held=True) is None
    assert explained(seen, [WORK], TOPOLOGY, at(70), held=False) is WORK, "it ended with the work"
