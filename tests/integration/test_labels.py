"""Labels with their evidence, the gate before thresholds and trainings, what is asked next: on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from console.labelling import Believed, asked, believed
from feature_store.windows import FeatureFrame
from tasks.judge import judge, opinion_of, real_times, without
from tasks.recalibrate import recalibrate
from tests.conftest import new_tenant
from tonewatch.errors import ActRefused
from tonewatch.records import ActKind, Cause, CauseKind, Finding, FindingKind, Incident, IncidentState
from warehouse import audit, authors, calibrations, findings, incidents, labels, notices, questions
from warehouse.acts import Wish, do
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse
from warehouse.questions import Question

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = START + timedelta(days=2)
PART = "component:edge-1"
TRAINED = Calibrated("edge", "3", START, 0.7, 0.6, 0.8, 0.69, 0.05, "exponential", Source.TRAINING, "calm")


def finding(tenant: str, number: int, score: float, kind: FindingKind = FindingKind.SIGNAL) -> Finding:
    signal = kind is FindingKind.SIGNAL
    began = START + timedelta(hours=number)
    return Finding(
        tenant,
        PART,
        "isolation-forest:edge" if signal else "rule:scrape-down",
        kind,
        began,
        began + timedelta(minutes=5),
        summary="unlike its calm days",
        symptom="anomaly",
        score=score,
        model_version=calibrations.model_version("edge", "3") if signal else None,
    )


async def told(warehouse: Warehouse, tenant: str, number: int, score: float, *, rule: bool = False) -> str:
    """An incident, handed over and closed; with a rule's finding it is known to be real."""
    id_, began = f"i{number}", START + timedelta(hours=number)
    found = [finding(tenant, number, score)]
    if rule:
        found.append(finding(tenant, number, 1.0, FindingKind.RULE))
    incident = Incident(id_, tenant, IncidentState.CLOSED, began, began, "unlike its calm days", (PART,))
    async with warehouse.as_tenant(tenant) as db:
        await findings.save(tenant, db, found)
        over = began + timedelta(minutes=10)
        await incidents.save(tenant, db, replace(incident, impact_ended=over, closed=over))
        await incidents.attach(tenant, db, id_, [each.id for each in found])
    return id_


async def say(warehouse: Warehouse, tenant: str, id_: str, who: str, kind: ActKind, at: datetime = LATER) -> None:
    await do(tenant, warehouse, Wish(kind, id_, who, "I looked"), at)


async def calibrate(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [TRAINED])


async def proven(warehouse: Warehouse, tenant: str, who: str, first: int) -> None:
    """Make somebody known: he was right of six incidents of which a rule had told the same."""
    for number in range(first, first + 6):
        id_ = await told(warehouse, tenant, number, 0.75, rule=True)
        await say(warehouse, tenant, id_, who, ActKind.REAL, START + timedelta(hours=2 * number))


async def test_a_label_keeps_what_its_author_saw_and_not_what_came_later(warehouse: Warehouse, tenant: str) -> None:
    id_ = await told(warehouse, tenant, 1, 0.8)
    await say(warehouse, tenant, id_, "ann", ActKind.FALSE)
    late = finding(tenant, 2, 0.99)
    async with warehouse.as_tenant(tenant) as db:
        await findings.save(tenant, db, [late])
        await incidents.attach(tenant, db, id_, [late.id])
        kept = await labels.of_incident(tenant, db, id_)
        saw = await labels.evidence_of(tenant, db, id_)
        judged = await calibrations.told(tenant, db, [id_])
    assert sorted(label.value for label in kept) == ["false", "verdict:false-alarm"]
    assert set(saw) == {label.id for label in kept}
    (seen,) = saw[kept[0].id]
    assert (seen["score"], seen["model_version"]) == (0.8, "edge-isolation-forest/3")
    assert [each.score for each in judged] == [0.8]


async def test_everybody_may_judge_and_change_his_mind_and_the_same_twice_is_refused(
    warehouse: Warehouse, tenant: str
) -> None:
    id_ = await told(warehouse, tenant, 1, 0.8)
    await say(warehouse, tenant, id_, "ann", ActKind.FALSE)
    await say(warehouse, tenant, id_, "ben", ActKind.FALSE)
    with pytest.raises(ActRefused, match="ann said so already"):
        await say(warehouse, tenant, id_, "ann", ActKind.FALSE, LATER + timedelta(minutes=1))
    for minutes, kind in ((2, ActKind.REAL), (3, ActKind.FALSE), (4, ActKind.REAL)):
        await say(warehouse, tenant, id_, "ann", kind, LATER + timedelta(minutes=minutes))
    async with warehouse.as_tenant(tenant) as db:
        spoken = await authors.spoken(tenant, db)
    assert {(each.author, each.real) for each in spoken} == {("ann", True), ("ben", False)}
    assert {each.about for each in spoken} == {"isolation-forest:edge"}


async def test_a_cause_is_doubted_by_its_name_and_only_where_one_is_named(warehouse: Warehouse, tenant: str) -> None:
    id_ = await told(warehouse, tenant, 1, 0.8)
    with pytest.raises(ActRefused, match="no cause is named"):
        await say(warehouse, tenant, id_, "ann", ActKind.NOT_THE_CAUSE)
    async with warehouse.as_tenant(tenant) as db:
        await incidents.set_causes(tenant, db, id_, [Cause(id_, 1, PART, CauseKind.CRASH, 0.9)])
    await say(warehouse, tenant, id_, "ann", ActKind.NOT_THE_CAUSE)
    async with warehouse.as_tenant(tenant) as db:
        values = {label.value for label in await labels.of_incident(tenant, db, id_)}
    assert values == {"not-the-cause", f"not-cause:{PART}:crash"}


async def test_one_person_alone_moves_a_threshold_by_a_quarter_of_the_way(warehouse: Warehouse, tenant: str) -> None:
    await calibrate(warehouse, tenant)
    id_ = await told(warehouse, tenant, 1, 0.99)
    await say(warehouse, tenant, id_, "ann", ActKind.FALSE)
    (raised,) = await recalibrate(tenant, warehouse, LATER)
    assert raised.threshold == pytest.approx(0.7 + 0.3 / 4)


async def test_where_two_judge_one_word_moves_nothing_and_a_pattern_that_both_see_does(
    warehouse: Warehouse, tenant: str
) -> None:
    await calibrate(warehouse, tenant)
    await proven(warehouse, tenant, "ann", 1)
    await proven(warehouse, tenant, "ben", 11)
    for number, score in ((21, 0.72), (22, 0.78)):
        await told(warehouse, tenant, number, score)
        await say(warehouse, tenant, f"i{number}", "ann", ActKind.FALSE, START + timedelta(hours=60 + number))
    assert await recalibrate(tenant, warehouse, LATER) == []
    for number in (21, 22):
        await say(warehouse, tenant, f"i{number}", "ben", ActKind.FALSE, START + timedelta(hours=90 + number))
    (raised,) = await recalibrate(tenant, warehouse, LATER + timedelta(hours=1))
    assert raised.threshold == 0.72


async def test_who_contradicts_what_is_known_is_quarantined_told_of_once_and_heard_no_more(
    warehouse: Warehouse, tenant: str
) -> None:
    await calibrate(warehouse, tenant)
    other = await new_tenant(warehouse)
    for number in range(1, 7):
        id_ = await told(warehouse, tenant, number, 0.75, rule=True)
        await say(warehouse, tenant, id_, "mallory", ActKind.FALSE, START + timedelta(hours=2 * number))
    await told(warehouse, tenant, 9, 0.9)
    await say(warehouse, tenant, "i9", "mallory", ActKind.FALSE)
    assert await recalibrate(tenant, warehouse, LATER) == []
    assert await recalibrate(tenant, warehouse, LATER + timedelta(hours=1)) == []
    async with warehouse.as_tenant(tenant) as db:
        (weight,) = await authors.weights(tenant, db)
        lines = [each for each in await audit.read(tenant, db, 50) if each.what == "labels.quarantine"]
        mails = await notices.of_incident(tenant, db, f"labels:mallory:{LATER:%Y%m%dT%H%M%S}")
    assert (weight.author, weight.weight, weight.quarantined) == ("mallory", 0.0, True)
    assert [(each.subject, each.who) for each in lines] == [("mallory", "tonewatch")]
    assert ["in quarantine" in mail.subject for mail in mails] == [True]
    async with warehouse.as_tenant(other) as db:
        assert await authors.weights(other, db) == []
    assert "in quarantine" in believed(await Believed.read(tenant, warehouse))


async def test_the_times_of_settled_incidents_are_no_calm_to_learn_from(warehouse: Warehouse, tenant: str) -> None:
    await told(warehouse, tenant, 1, 0.8, rule=True)
    await told(warehouse, tenant, 3, 0.8)
    (times,) = await real_times(tenant, warehouse, START, START + timedelta(hours=5))
    assert times[0] == (START + timedelta(hours=1)).timestamp()
    ends = tuple(START + timedelta(minutes=10 * number) for number in range(31))
    frame = FeatureFrame("edge", (PART,) * 31, ends, ("hit_ratio",), np.zeros((31, 1)), np.ones(31))
    left = without(frame, [times]).coverage
    gone = [end for end, coverage in zip(ends, left, strict=True) if coverage == 0.0]
    assert gone[0] == START + timedelta(minutes=50)
    assert gone[-1] == START + timedelta(hours=2)
    assert without(frame, []) is frame


async def test_what_would_change_most_is_asked_first_until_it_is_answered(warehouse: Warehouse, tenant: str) -> None:
    await calibrate(warehouse, tenant)
    for number, score in ((1, 0.71), (2, 0.84)):
        await told(warehouse, tenant, number, score)
    await told(warehouse, tenant, 3, 0.9, rule=True)  # known: nobody need be asked
    now = START + timedelta(hours=12)
    await recalibrate(tenant, warehouse, now)
    doubt = Question(
        "disagreement", "edge 3/4", "champion and challenger disagree", "shadow", 0.99, now, {"at": "12:00"}
    )
    async with warehouse.as_tenant(tenant) as db:
        assert await questions.put(tenant, db, doubt)
        waiting = await questions.waiting(tenant, db)
    assert [each.subject for each in waiting] == ["edge 3/4", "i2", "i1"]
    assert "tonewatch incidents false i2" in asked(waiting, "")
    await say(warehouse, tenant, "i2", "ann", ActKind.REAL, now)
    async with warehouse.as_tenant(tenant) as db:
        assert [each.subject for each in await questions.waiting(tenant, db)] == ["edge 3/4", "i1"]
        await questions.answered(tenant, db, "edge 3/4", now)
        assert not await questions.put(tenant, db, doubt)
    await recalibrate(tenant, warehouse, now + timedelta(days=40))
    async with warehouse.as_tenant(tenant) as db:
        assert await questions.waiting(tenant, db) == []
    assert "Nothing is to be asked" in asked([], "")


async def test_an_opinion_is_kept_when_it_changes_and_not_each_hour(warehouse: Warehouse, tenant: str) -> None:
    await proven(warehouse, tenant, "ann", 1)
    async with warehouse.as_tenant(tenant) as db:
        await judge(tenant, db, LATER)
        await judge(tenant, db, LATER + timedelta(hours=1))
        (weight,) = await authors.weights(tenant, db)
        found = await opinion_of(tenant, db)
    assert weight.made == LATER
    assert weight.weight == pytest.approx(found.authors["ann"].weight)
    assert found.authors["ann"].proven
