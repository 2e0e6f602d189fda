"""Validations on a real PostgreSQL: what shadows tell is kept once, per tenant, and judged over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from console.labelling import asked as shown
from flows.validation import final_of
from ml.ab_plan import Answer
from ml.champion import Champion
from tasks.shadow import Pair, found_within, piece_of
from tasks.validate import begin, id_of, judged, mask, observe, ongoing, plan_for, read_back, written
from tests.conftest import new_tenant
from tests.integration.furnished import VALIDATION, looked
from tests.unit.transcoders import NOON, PARTS, at, champion, telemetry
from tonewatch.errors import ActRefused, WarehouseError
from tonewatch.records import ActKind, Entity, Finding, FindingKind, Incident, IncidentState, Label
from tonewatch.settings import load_profile
from warehouse import audit, cursors, entities, findings, incidents, labels, questions, samples, validations
from warehouse.acts import Wish
from warehouse.database import Warehouse
from warehouse.disagreements import answer
from warehouse.questions import Question
from warehouse.validations import Disagreement, Observation, Validation

PROFILE = load_profile("demo")
PROFILE_DAY = timedelta(seconds=PROFILE.day_seconds)
PIECE = int(piece_of(PROFILE).total_seconds())
LATE = int(found_within(PROFILE).total_seconds())


@pytest.fixture(scope="module")
def good() -> Champion:
    return champion()


@pytest.fixture(scope="module")
def pair(good: Champion) -> Pair:
    """The champion is deaf: the challenger is better."""
    return Pair(replace(good, threshold=0.999), good)


def new(tenants: Sequence[str], *, days: float = 28) -> Validation:
    plan = plan_for("transcode", "1", "2", tenants, NOON, PROFILE, days=days)
    return Validation(id_of("transcode", "1", "2"), "transcode", "1", "2", written(plan), NOON)


async def begun(warehouse: Warehouse, tenants: Sequence[str], pieces: int, **ill: tuple[int, int]) -> Validation:
    """A validation of tenants that have samples for so many pieces; ill: ch1 or ch2 -> when it lags."""
    hurt = {part: ill[part[-3:]] for part in PARTS if part[-3:] in ill}
    validation = new(tenants)
    for tenant in tenants:
        async with warehouse.as_tenant(tenant) as db:
            await entities.save(tenant, db, [Entity(part, "transcode") for part in PARTS], at(-86_400))
            await samples.append(tenant, db, telemetry(-360, pieces * PIECE + LATE, ill=hurt))
            validation = await validations.begin(tenant, db, validation)
    return validation


async def counts(warehouse: Warehouse, tenant: str) -> dict[str, int]:
    query = "select kind, count(*)::integer as count from validation_observation where tenant = :tenant group by 1"
    async with warehouse.as_tenant(tenant) as db:
        found = await db.execute(text(query), {"tenant": tenant})
        return {each["kind"]: each["count"] for each in found.mappings()}


async def differences(warehouse: Warehouse, tenant: str, validation: Validation) -> list[float]:
    """Of each burst, the mean of who finds what: +1 the challenger alone, -1 the champion alone."""
    query = (
        "select avg((content->>'challenger')::boolean::int - (content->>'champion')::boolean::int)::float as mean"
        " from validation_observation where tenant = :tenant and kind = 'outcome'"
        " group by floor(extract(epoch from time - :start) / :burst) order by 1"
    )
    told = {"tenant": tenant, "start": validation.started, "burst": validation.plan["burst_s"]}
    async with warehouse.as_tenant(tenant) as db:
        return [each["mean"] for each in (await db.execute(text(query), told)).mappings()]


def when(pieces: float) -> datetime:
    return NOON + pieces * timedelta(seconds=PIECE) + found_within(PROFILE)


def test_a_plan_comes_back_as_it_was_written() -> None:
    plan = plan_for("transcode", "1", "2", ["kiwi", "plum"], NOON, PROFILE, days=20)
    kept = Validation("id", "transcode", "1", "2", written(plan), NOON)
    assert read_back(kept) == plan
    assert plan.longest % piece_of(PROFILE) == plan.burst % piece_of(PROFILE) == timedelta()
    assert plan.longest >= 20 * plan.day
    assert not {"kiwi", "plum"} & set(" ".join(plan.tenants).split())


async def test_a_validation_that_goes_on_is_not_superseded_by_a_newer_challenger(
    warehouse: Warehouse, tenant: str
) -> None:
    """Trainings come more often than verdicts: each would begin anew, and none would ever be judged."""
    old = new([tenant])
    plan = {**old.plan, "tenants": [mask("newer", tenant)]}
    newer = replace(old, id="newer", challenger="3", started=NOON + PROFILE_DAY, plan=plan)
    async with warehouse.as_tenant(tenant) as db:
        for each in (old, newer):
            await validations.begin(tenant, db, each)
    soon = NOON + 2 * PROFILE_DAY
    assert await ongoing(tenant, warehouse, soon) == {("transcode", "1"): "2"}
    assert await ongoing(tenant, warehouse, NOON + 99 * PROFILE_DAY) == {}
    verdict = replace(looked(soon, final=True), validation=old.id, answer="better")
    async with warehouse.as_tenant(tenant) as db:
        await validations.look(tenant, db, verdict)
    assert await ongoing(tenant, warehouse, soon) == {("transcode", "1"): "2"}, "it is not promoted yet"
    async with warehouse.as_tenant(tenant) as db:
        await validations.promoted(tenant, db, old.id, soon)
    assert await ongoing(tenant, warehouse, soon) == {("transcode", "1"): "3"}


async def test_a_probation_keeps_no_challenger_from_its_turn(warehouse: Warehouse, tenant: str) -> None:
    """It may end without a final verdict; its challenger judges already, and is the champion of the next."""
    made = new([tenant])
    watched = replace(made, plan={**made.plan, validations.PROBATION: "promotion"})
    async with warehouse.as_tenant(tenant) as db:
        await validations.begin(tenant, db, watched)
    assert await ongoing(tenant, warehouse, NOON + 2 * PROFILE_DAY) == {}


@pytest.mark.timeout(300)
async def test_a_run_carries_on_where_the_last_one_ended_and_counts_nothing_twice(
    warehouse: Warehouse, tenant: str, pair: Pair
) -> None:
    validation = await begun(warehouse, [tenant], 3)
    first = await observe(tenant, warehouse, validation, pair, PROFILE, when(2.9))
    assert (first.pieces, first.until) == (2, at(2 * PIECE))
    second = await observe(tenant, warehouse, validation, pair, PROFILE, when(3))
    assert (second.pieces, second.until) == (1, at(3 * PIECE))
    assert (await counts(warehouse, tenant))["cost"] == 3
    async with warehouse.as_tenant(tenant) as db:
        await cursors.set(tenant, db, f"validation:{validation.id}", {"time": NOON.isoformat()}, when(3))
    again = await observe(tenant, warehouse, validation, pair, PROFILE, when(3))
    assert (again.pieces, again.observations, again.disagreements) == (3, 0, 0)


@pytest.mark.timeout(300)
async def test_tenants_are_judged_together_and_neither_reads_of_the_other(
    warehouse: Warehouse, tenant: str, pair: Pair
) -> None:
    both = [tenant, await new_tenant(warehouse)]
    validation = await begun(warehouse, both, 2)
    until = [(await observe(each, warehouse, validation, pair, PROFILE, when(2))).until for each in both]
    answer = await judged(both, warehouse, validation, min(until))
    assert (answer.answer, answer.final) == (Answer.INCONCLUSIVE, False)
    assert answer.effect.count == 4
    # Which anomalies are injected follows from the tenant's name, and so who finds them.
    bursts = [burst for each in both for burst in await differences(warehouse, each, validation)]
    assert answer.effect.estimate == pytest.approx(sum(bursts) / 4)
    for one, other in (both, both[::-1]):
        async with warehouse.as_tenant(one) as db:
            kept = await validations.newest(one, db, validation.id)
            assert kept is not None
            assert kept.estimate == answer.effect.estimate
            shown = str([kept, await validations.observed(one, db, validation.id), await validations.listed(one, db)])
            assert other not in shown
            assert mask(validation.id, other) in shown


@pytest.mark.timeout(300)
async def test_what_people_call_real_is_an_incident_that_one_found_and_no_page(
    warehouse: Warehouse, tenant: str, pair: Pair
) -> None:
    validation = await begun(warehouse, [tenant], 1, ch1=(10, 70))
    done = await observe(tenant, warehouse, validation, pair, PROFILE, when(1))
    assert done.disagreements == 1
    before = await judged([tenant], warehouse, validation, done.until)
    async with warehouse.as_tenant(tenant) as db:
        (alone,) = await validations.queued(tenant, db, validation.id)
        assert (alone.entity, alone.found_by) == (PARTS[0], "challenger")
        seen = [each for each in await validations.observed(tenant, db, validation.id) if each.kind == "outcome"]
        (asked,) = await questions.waiting(tenant, db)
    assert (asked.subject_kind, asked.subject) == ("disagreement", alone.id)
    assert "tonewatch models real" in shown([asked], "")
    wish = Wish(ActKind.REAL, alone.id, "someone", "it stuttered")
    await answer(tenant, warehouse, wish, when(1))
    with pytest.raises(ActRefused, match="said so already"):
        await answer(tenant, warehouse, wish, when(2))
    with pytest.raises(ActRefused, match="disagree on nothing called 'x'"):
        await answer(tenant, warehouse, replace(wish, incident="x"), when(2))
    async with warehouse.as_tenant(tenant) as db:
        assert await questions.waiting(tenant, db) == []
        (line,) = [each for each in await audit.read(tenant, db, 10) if each.what == "disagreement.real"]
    assert (line.who, line.subject) == ("someone", alone.id)
    after = await judged([tenant], warehouse, validation, done.until + timedelta(seconds=1))
    pages = [next(each for each in told.guards if each.guard.name == "pages").seen for told in (before, after)]
    # One more found by the challenger alone, whoever found the injected ones: that follows from the tenant's name.
    mean, count = before.effect.estimate, len(seen)
    assert after.effect.estimate == pytest.approx((count * mean + 1) / (count + 1))
    assert [each.count for each in pages] == [0, 0]  # the day is not over
    async with warehouse.as_tenant(tenant) as db:
        again = Label("l", validations.SUBJECT, alone.id, "verdict:false-alarm", "mallory", "", when(3))
        await labels.put(tenant, db, [again])
    open_ = await judged([tenant], warehouse, validation, done.until + timedelta(seconds=2))
    assert open_.effect.estimate == before.effect.estimate, "two who contradict one another settle nothing"


async def test_questions_about_disagreements_end_with_their_validation(warehouse: Warehouse, tenant: str) -> None:
    alone = Disagreement("d", VALIDATION.id, PARTS[0], "champion", NOON, at(1), 0.9, at(2))
    async with warehouse.as_tenant(tenant) as db:
        await validations.begin(tenant, db, VALIDATION)
        await validations.queue(tenant, db, [alone])
        await questions.put(tenant, db, Question("disagreement", "d", "ch1", "one told it", 0.5, NOON))
        await questions.moot(tenant, db, [], NOON - timedelta(days=30), at(3))
        assert [each.subject for each in await questions.waiting(tenant, db)] == ["d"]
        await validations.look(tenant, db, looked(at(5), final=True))
        await questions.moot(tenant, db, [], NOON - timedelta(days=30), at(6))
        assert await questions.waiting(tenant, db) == []


@pytest.mark.timeout(300)
async def test_an_incident_is_an_outcome_where_a_rule_saw_it_or_labels_make_it_real(
    warehouse: Warehouse, tenant: str, pair: Pair
) -> None:
    validation = await begun(warehouse, [tenant], 1, ch1=(10, 70))
    async with warehouse.as_tenant(tenant) as db:
        signal = FindingKind.SIGNAL
        named = (("ruled", FindingKind.RULE), ("guessed", signal), ("false", signal), ("real", signal))
        for name, kind in named:
            found = Finding(tenant, PARTS[0], f"{name}:x", kind, at(12), at(20), "a summary", "symptom")
            await findings.save(tenant, db, [found])
            await incidents.save(
                tenant, db, Incident(name, tenant, IncidentState.OPEN, at(12), at(20), "a title", (PARTS[0],))
            )
            await incidents.attach(tenant, db, name, [found.id])
        said = (("false", "verdict:false-alarm"), ("real", "verdict:real"))
        told = [Label(f"l-{name}", "incident", name, value, "x", "", at(30)) for name, value in said]
        await labels.put(tenant, db, told)
    await observe(tenant, warehouse, validation, pair, PROFILE, when(1))
    async with warehouse.as_tenant(tenant) as db:
        seen = {each.id: each.content for each in await validations.observed(tenant, db, validation.id)}
    assert seen["ruled"] == {"champion": False, "challenger": True, "injected": False}
    assert "real" in seen
    assert not {"guessed", "false"} & set(seen)


async def test_a_tenant_that_comes_later_takes_no_part_in_a_validation_that_goes_on(
    warehouse: Warehouse, tenant: str
) -> None:
    later = await new_tenant(warehouse)
    kept = await begin([tenant], warehouse, new([tenant]))
    again = await begin([later, tenant], warehouse, replace(new([later, tenant]), started=at(9)))
    assert again == kept
    async with warehouse.as_tenant(later) as db:
        assert await validations.listed(later, db) == []
        await validations.begin(later, db, kept)  # as it was done before
    assert await ongoing(later, warehouse, NOON + PROFILE_DAY) == {}
    assert await ongoing(tenant, warehouse, NOON + PROFILE_DAY) == {("transcode", "1"): "2"}


async def test_a_final_answer_that_reached_one_tenant_alone_is_kept_with_all(warehouse: Warehouse, tenant: str) -> None:
    both = [tenant, await new_tenant(warehouse)]
    kept = await begin(both, warehouse, new(both))
    final = replace(looked(at(5), final=True), validation=kept.id)
    async with warehouse.as_tenant(both[1]) as db:
        await validations.look(both[1], db, final)
    async with warehouse.as_tenant(tenant) as db:
        await validations.look(tenant, db, replace(final, final=False))
    assert await final_of(warehouse, kept, both) == final
    async with warehouse.as_tenant(tenant) as db:
        mine = await validations.newest(tenant, db, kept.id)
    assert mine == replace(final, until=at(5) + timedelta(microseconds=1)), "a look of that moment is never changed"


async def test_a_validation_that_is_there_keeps_its_plan(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        first = await validations.begin(tenant, db, VALIDATION)
        again = await validations.begin(tenant, db, replace(VALIDATION, plan={"longest_s": 1.0}))
        assert (first, again) == (VALIDATION, VALIDATION)
        assert await validations.promoted(tenant, db, VALIDATION.id, at(9))
        assert not await validations.promoted(tenant, db, VALIDATION.id, at(10))
        assert (await validations.listed(tenant, db))[0].promoted == at(9)


async def test_of_an_observation_the_first_word_stays(warehouse: Warehouse, tenant: str) -> None:
    first = Observation("x", "outcome", NOON, {"champion": True})
    alone = Disagreement("d", VALIDATION.id, PARTS[0], "champion", NOON, at(1), 0.9, at(2))
    async with warehouse.as_tenant(tenant) as db:
        await validations.begin(tenant, db, VALIDATION)
        assert await validations.observe(tenant, db, VALIDATION.id, [first]) == 1
        assert await validations.observe(tenant, db, VALIDATION.id, [replace(first, content={"champion": False})]) == 0
        assert await validations.observed(tenant, db, VALIDATION.id) == [first]
        assert await validations.queue(tenant, db, [alone, alone]) == 1
        assert await validations.queued(tenant, db, VALIDATION.id) == [alone]


async def test_a_final_look_stays_the_newest(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await validations.begin(tenant, db, VALIDATION)
        assert await validations.newest(tenant, db, VALIDATION.id) is None
        final = looked(at(5), final=True)
        assert await validations.look(tenant, db, final)
        assert not await validations.look(tenant, db, looked(at(6)))
        assert await validations.newest(tenant, db, VALIDATION.id) == final


async def test_a_challenger_that_is_the_champion_is_refused_by_the_table(warehouse: Warehouse, tenant: str) -> None:
    with pytest.raises(WarehouseError):
        async with warehouse.as_tenant(tenant) as db:
            await validations.begin(tenant, db, replace(VALIDATION, challenger="1"))
