from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ml.ab_plan import Answer, Guard, Held, Plan, Proof
from ml.ab_test import GUARDS, LOSS, MOST_LOSS, Calm, Cost, Crash, Observed, Outcome, judge, refutable_loss
from tonewatch.errors import ModelError

START = datetime(2026, 3, 2, tzinfo=UTC)
PLAN = Plan("forest", "3", "4", ("kiwi", "plum"), START, GUARDS)
HOUR = timedelta(hours=1)


def outcomes(found: str, tenant: str = "kiwi") -> list[Outcome]:
    """One letter per burst of six hours: b both, c the challenger alone, o the champion (the old one) alone, n none."""
    return [
        Outcome(START + 6 * number * HOUR, f"{tenant}-{number}", tenant, letter in "bo", letter in "bc")
        for number, letter in enumerate(found)
    ]


def costs(days: int, times: float = 1.0) -> list[Cost]:
    return [Cost(START + 6 * n * HOUR, f"cost-{n}", "kiwi", 0.2, 0.2 * times, 90.0, 90.0) for n in range(4 * days)]


def calm(days: int, more: int = 0) -> list[Calm]:
    return [Calm(START + 24 * n * HOUR, f"calm-{n}", "kiwi", 86400.0, 0, more) for n in range(days)]


def observed(days: int, *, found: str = "", times: float = 1.0, more: int = 0) -> Observed:
    told = (found or "b") * (4 * days // len(found or "b"))
    return Observed(START + 24 * days * HOUR, outcomes(told), calm(days, more), costs(days, times))


def test_a_challenger_that_finds_more_and_costs_no_more_is_better() -> None:
    told = judge(PLAN, observed(20, found="ccbn"))
    assert (told.answer, told.final) == (Answer.BETTER, True)
    assert told.effect.estimate == pytest.approx(0.5)
    assert told.effect.low > 0
    assert {each.state for each in told.guards} >= {Held.HELD}
    assert "effect" in told.reasons[0]


def test_a_challenger_that_finds_less_is_worse() -> None:
    told = judge(PLAN, observed(20, found="oobn"))
    assert (told.answer, told.final) == (Answer.WORSE, True)
    assert told.effect.high < 0


def test_two_that_find_the_same_are_inconclusive_and_known_to_be_so_before_the_end() -> None:
    early, late = judge(PLAN, observed(3)), judge(replace(PLAN, longest=timedelta(days=900)), observed(60))
    assert (early.answer, early.final) == (Answer.INCONCLUSIVE, False)
    assert (late.answer, late.final) == (Answer.INCONCLUSIVE, True)
    assert "worth it" in late.reasons[0]


def test_the_longest_duration_ends_it() -> None:
    plan = replace(PLAN, longest=timedelta(days=3))
    told = judge(plan, observed(3, found="cbnb"))
    assert (told.answer, told.final) == (Answer.INCONCLUSIVE, True)
    assert "longest" in told.reasons[0]


def test_nothing_observed_is_inconclusive_and_says_so() -> None:
    told = judge(PLAN, Observed(START + HOUR))
    assert (told.answer, told.final, told.effect.count) == (Answer.INCONCLUSIVE, False, 0)
    assert any("no burst" in reason for reason in told.reasons)


def test_one_ten_times_slower_is_worse_within_days_however_much_it_finds() -> None:
    told = judge(PLAN, observed(4, found="c", times=10.0))
    assert (told.answer, told.final) == (Answer.WORSE, True)
    assert any(reason.startswith("latency broken") for reason in told.reasons)


def test_one_whose_costs_nobody_measured_is_not_better() -> None:
    told = judge(PLAN, replace(observed(20, found="ccbn"), costs=()))
    assert told.answer is Answer.INCONCLUSIVE
    assert any("latency open" in reason for reason in told.reasons)


def test_one_that_pages_on_calm_days_is_worse() -> None:
    told = judge(PLAN, observed(20, found="ccbn", more=2))
    assert told.answer is Answer.WORSE
    assert any(reason.startswith("pages broken") for reason in told.reasons)


def test_calm_days_are_too_few_to_be_called_better() -> None:
    few = replace(observed(20, found="ccbn"), calm=calm(13))
    assert judge(PLAN, few).answer is Answer.INCONCLUSIVE
    assert judge(PLAN, replace(few, calm=calm(14))).answer is Answer.BETTER


def test_a_day_that_was_hardly_calm_does_not_count() -> None:
    short = [replace(each, seconds=3600.0) for each in calm(20)]
    pages = next(each for each in judge(PLAN, replace(observed(20), calm=short)).guards if each.guard.name == "pages")
    assert pages.seen.count == 0


def test_one_that_crashes_on_one_tenant_is_worse_at_once() -> None:
    crash = Crash(START + HOUR, "run-1", "plum", "expects 9 features, got 8")
    told = judge(PLAN, replace(observed(1, found="c"), crashes=[crash]))
    assert (told.answer, told.final) == (Answer.WORSE, True)
    assert "plum" in told.reasons[0]
    assert "expects 9 features" in told.reasons[0]


def test_one_that_serves_a_tenant_worse_is_worse_though_it_finds_more_altogether() -> None:
    seen = observed(20, found="c")
    told = judge(PLAN, replace(seen, outcomes=[*seen.outcomes, *outcomes("onnn" * 20, "plum")]))
    unfair = next(each for each in told.guards if each.guard.name == "fairness")
    assert told.effect.low > 0
    assert (unfair.state, unfair.about, told.answer) == (Held.OPEN, "plum", Answer.INCONCLUSIVE)
    worse = judge(PLAN, replace(seen, outcomes=[*seen.outcomes, *outcomes("o" * 80, "plum")]))
    unfair = next(each for each in worse.guards if each.guard.name == "fairness")
    assert (unfair.state, unfair.about) == (Held.BROKEN, "plum")
    assert worse.answer is Answer.WORSE


def test_an_observation_given_twice_counts_once() -> None:
    once = observed(10, found="ccbn")
    twice = replace(once, outcomes=[*once.outcomes, *once.outcomes], costs=[*once.costs, *once.costs])
    assert judge(PLAN, twice).effect == judge(PLAN, once).effect
    assert judge(PLAN, twice).ignored == 80


def test_the_order_in_which_observations_come_changes_nothing() -> None:
    whole = observed(10, found="cobn")
    mixed = [random.Random(4).sample(list(each), len(each)) for each in (whole.outcomes, whole.calm, whole.costs)]
    assert judge(PLAN, Observed(whole.until, *mixed)) == judge(PLAN, whole)


def test_what_belongs_to_one_burst_counts_as_one() -> None:
    flood = [Outcome(START + HOUR, f"flood-{number}", "kiwi", False, True) for number in range(50)]
    told = judge(PLAN, Observed(START + 6 * HOUR, flood))
    assert told.effect.count == 1
    assert told.answer is Answer.INCONCLUSIVE


def test_a_burst_counts_when_it_is_over() -> None:
    one = [Outcome(START + HOUR, "one", "kiwi", False, True)]
    assert judge(PLAN, Observed(START + 5 * HOUR, one)).effect.count == 0
    assert judge(PLAN, Observed(START + 6 * HOUR, one)).effect.count == 1


def test_what_lies_outside_the_validation_is_ignored_and_counted() -> None:
    stray = [
        Outcome(START - HOUR, "early", "kiwi", False, True),
        Outcome(START + 9 * HOUR, "late", "kiwi", False, True),
    ]
    told = judge(PLAN, Observed(START + 8 * HOUR, stray))
    assert (told.effect.count, told.ignored) == (0, 2)


def test_a_tenant_that_the_plan_does_not_name_is_refused() -> None:
    with pytest.raises(ModelError, match="stranger"):
        judge(PLAN, Observed(START + HOUR, [Outcome(START, "x", "stranger", True, True)]))


def test_a_challenger_that_is_the_champion_is_refused() -> None:
    with pytest.raises(ModelError, match="champion already"):
        replace(PLAN, challenger="3")


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenants": ()},
        {"tenants": ("kiwi", "kiwi")},
        {"alpha": 0.0},
        {"minimum_effect": -0.1},
        {"loss": 0.0},
        {"longest": timedelta()},
        {"burst": timedelta(days=99)},
        {"started": datetime(2026, 1, 1)},  # noqa: DTZ001 - a time without zone is what is refused
        {"guards": (Guard("pages", math.nan, Proof.SHOWN),)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_plan_that_can_answer_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="forest"):
        replace(PLAN, **wrong)  # type: ignore[arg-type]  # a field each


def test_a_guard_that_is_not_known_is_refused() -> None:
    with pytest.raises(ModelError, match="no guard colour"):
        judge(replace(PLAN, guards=(Guard("colour", 1.0, Proof.SHOWN),)), Observed(START))


@pytest.mark.parametrize("seconds", [math.nan, -1.0, math.inf])
def test_durations_that_are_none_are_refused(seconds: float) -> None:
    with pytest.raises(ModelError, match="calm stretch"):
        Calm(START, "x", "kiwi", seconds, 0, 0)
    with pytest.raises(ModelError, match="above 0"):
        Cost(START, "x", "kiwi", 0.1, seconds, 1.0, 1.0)


def test_pages_below_zero_are_refused() -> None:
    with pytest.raises(ModelError, match="below 0"):
        Calm(START, "x", "kiwi", 1.0, -1, 0)


def test_the_error_is_shared_over_the_effect_and_all_guards() -> None:
    broken = len(PLAN.guards) * PLAN.alpha_of_guard / 2  # one side: that a guard holds makes no answer
    assert PLAN.alpha_of_effect + broken + PLAN.alpha_of_pages == pytest.approx(PLAN.alpha)


def quieter(days: int, found: str, champion: int = 3, every: int = 1) -> Observed:
    """The champion pages on every so many calm days, the challenger on none."""
    seen = observed(days, found=found)
    loud = [replace(each, champion=champion * (n % every == 0)) for n, each in enumerate(seen.calm)]
    return replace(seen, calm=loud)


def test_a_champion_that_pages_every_day_gives_way_to_one_that_finds_as_much_and_does_not() -> None:
    early, late = judge(PLAN, quieter(7, "bn")), judge(PLAN, quieter(20, "bn"))
    assert (early.answer, early.final) == (Answer.INCONCLUSIVE, False)
    assert (late.answer, late.final) == (Answer.BETTER, True)
    assert late.reasons[0].startswith("it pages less: -7.000")
    assert late.effect.estimate == 0


def test_fewer_pages_are_no_excuse_for_finding_less() -> None:
    assert judge(PLAN, quieter(20, "obbn")).answer is Answer.WORSE
    few = judge(PLAN, quieter(14, "obbbbbbb"))  # an eighth less: neither shown nor refuted
    assert few.answer is Answer.INCONCLUSIVE


def test_fewer_pages_are_no_proof_of_hearing() -> None:
    """Beside a champion that finds nothing, left behind by the stream, a deaf challenger loses nothing."""
    deaf = judge(PLAN, quieter(20, "n"))
    assert deaf.answer is Answer.INCONCLUSIVE
    assert "it pages less, and has found nothing yet: that a deaf one does, too" in deaf.reasons
    assert judge(PLAN, quieter(20, "n" * 79 + "c")).answer is Answer.BETTER


def test_one_that_takes_longer_because_it_knows_the_stream_may_be_better() -> None:
    assert judge(PLAN, observed(28, found="bc", times=1.6)).answer is Answer.BETTER
    assert judge(PLAN, observed(28, found="bc", times=2.1)).answer is Answer.WORSE


def test_a_plan_of_few_bursts_asks_no_loss_to_be_refuted_that_they_cannot_refute() -> None:
    assert refutable_loss(112, PLAN.alpha_of_effect) == LOSS, "28 days of one platform"
    few = refutable_loss(36, PLAN.alpha_of_effect)
    assert LOSS < few < MOST_LOSS
    assert judge(PLAN, quieter(9, "bn")).effect.low > -few, "nine days without a difference"
    assert judge(PLAN, quieter(6, "bn")).effect.low < -few
    assert refutable_loss(3, PLAN.alpha_of_effect) == refutable_loss(0, PLAN.alpha_of_effect) == MOST_LOSS
    asked = [refutable_loss(bursts, PLAN.alpha_of_effect) for bursts in range(0, 120, 6)]
    assert asked == sorted(asked, reverse=True)


def test_a_plan_says_what_loss_is_refuted_before_fewer_pages_are_better() -> None:
    seen = quieter(11, "bn")
    assert judge(replace(PLAN, loss=0.1), seen).answer is Answer.INCONCLUSIVE
    told = judge(replace(PLAN, loss=0.25), seen)
    assert told.answer is Answer.BETTER
    assert "a loss of 0.25 of recall is refuted" in told.reasons[0]


def test_a_page_less_now_and_then_is_not_shown() -> None:
    assert judge(PLAN, quieter(28, "bn", every=9)).answer is Answer.INCONCLUSIVE


def test_effects_too_small_to_matter_end_nothing_while_pages_look_fewer() -> None:
    """The effect alone is known to be less than 0.2 after ten days without any difference."""
    many = replace(PLAN, longest=timedelta(days=900), minimum_effect=0.2)
    assert judge(many, quieter(10, "bn", every=5)).final is False
    assert judge(many, observed(10, found="bn")).final is True
