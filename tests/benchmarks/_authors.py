"""Who judges on the simulated platforms: honest people who err, and those who mean harm, each by one strategy."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from ml.labelling import Vote
from tests.benchmarks._labelled import Told

#: How often each honest author is right, and what share of the incidents each judges.
HONEST = {"ann": 0.95, "ben": 0.93, "cleo": 0.9, "dan": 0.88, "eve": 0.85}
JUDGES = 0.5
#: The share of real incidents of which something is verified that no label can change; false alarms have no such proof.
VERIFIED = 0.35
#: Of all labels, how many are hostile.
HOSTILE = 0.1


def honest(told: Sequence[Told], chance: random.Random) -> list[Vote]:
    """What honest people say, each some hours after the incident, one at a time."""
    return [
        _vote(each, author, each.real == (chance.random() < right), 3600 + chance.random() * 36_000)
        for each in told
        for author, right in HONEST.items()
        if chance.random() < JUDGES
    ]


def verified(told: Sequence[Told], chance: random.Random) -> dict[str, bool]:
    """What is verified."""
    return {each.id: True for each in told if each.real and chance.random() < VERIFIED}


def hostile(strategy: str, told: Sequence[Told], votes: Sequence[Vote], chance: random.Random) -> list[Vote]:
    """The hostile labels: HOSTILE of all, or as many as the strategy finds incidents for."""
    count = max(3, round(len(votes) * HOSTILE / (1 - HOSTILE)))
    return STRATEGIES[strategy](told, votes, count, chance)


Strategy = Callable[[Sequence[Told], Sequence[Vote], int, random.Random], list[Vote]]


def _opposite(told: Sequence[Told], votes: Sequence[Vote], count: int, chance: random.Random) -> list[Vote]:
    """Always the opposite of the truth."""
    some = chance.sample(list(told), min(count, len(told)))
    return [_vote(each, "mallory", not each.real, 7200 + chance.random() * 36_000) for each in some]


def _important(told: Sequence[Told], votes: Sequence[Vote], count: int, chance: random.Random) -> list[Vote]:
    """The opposite of the family that tells most, the truth of the others, so as to look honest."""
    most = Counter(each.about for each in told).most_common(1)[0][0]
    own = [each for each in told if each.about == most][:count]
    rest = [each for each in told if each.about != most][: max(0, count - len(own))]
    lies = [_vote(each, "mallory", not each.real, 7200.0) for each in own]
    return lies + [_vote(each, "mallory", each.real, 7200.0) for each in rest]


def _colluding(told: Sequence[Told], votes: Sequence[Vote], count: int, chance: random.Random) -> list[Vote]:
    """Three who say the same lie of the incidents that move thresholds most."""
    high = sorted(told, key=lambda each: -each.score)[: max(1, count // 3)]
    names = ("mallory", "mordred", "morgana")
    return [_vote(each, name, not each.real, 5400.0 + 60 * at) for each in high for at, name in enumerate(names)]


def _prolific(told: Sequence[Told], votes: Sequence[Vote], count: int, chance: random.Random) -> list[Vote]:
    """All that is said within a few minutes after the last incident: false alarms, every one."""
    end = max(each.past.ended.timestamp() for each in told) + 60
    some = chance.sample(list(told), min(count, len(told)))
    return [Vote(each.id, "mallory", False, end + 5.0 * at, each.about) for at, each in enumerate(some)]


def _sleeper(told: Sequence[Told], votes: Sequence[Vote], count: int, chance: random.Random) -> list[Vote]:
    """The truth in the first half of the time, as often as it may be, then lies."""
    order = sorted(told, key=lambda each: each.past.opened)
    early, late = order[: len(order) // 2], order[len(order) // 2 :]
    good = [_vote(each, "mallory", each.real, 3600.0) for each in chance.sample(early, min(count, len(early)))]
    return good + [_vote(each, "mallory", not each.real, 3600.0) for each in chance.sample(late, min(count, len(late)))]


def _patient(told: Sequence[Told], votes: Sequence[Vote], count: int, chance: random.Random) -> list[Vote]:
    """The truth in the first half of the time, of what others judge too; then lies of what few others judge."""
    order = sorted(told, key=lambda each: each.past.opened)
    spoken = Counter(vote.incident for vote in votes)
    early, late = order[: len(order) // 2], order[len(order) // 2 :]
    good = sorted(early, key=lambda each: -spoken[each.id])[:count]
    bad = sorted(late, key=lambda each: spoken[each.id])[:count]
    return [_vote(e, "mallory", e.real, 40_000.0) for e in good] + [
        _vote(e, "mallory", not e.real, 40_000.0) for e in bad
    ]


def _unwatched(told: Sequence[Told], votes: Sequence[Vote], count: int, chance: random.Random) -> list[Vote]:
    """Lies of what nobody else judged, then of what one alone did."""
    spoken = Counter(vote.incident for vote in votes)
    some = sorted(told, key=lambda each: (spoken[each.id], -each.score))[:count]
    return [_vote(each, "mallory", not each.real, 40_000.0) for each in some]


def _blinding(told: Sequence[Told], votes: Sequence[Vote], count: int, chance: random.Random) -> list[Vote]:
    """False alarm, of what scored highest: it would raise thresholds, and keep faults in the calm."""
    some = sorted((each for each in told if each.real), key=lambda each: -each.score)[:count]
    return [_vote(each, "mallory", False, 7200.0) for each in some]


def _opening(told: Sequence[Told], votes: Sequence[Vote], count: int, chance: random.Random) -> list[Vote]:
    """Real, of every false alarm: it would lower thresholds, and flood people with pages."""
    wrong = [each for each in told if not each.real]
    return [_vote(each, "mallory", True, 7200.0) for each in wrong[:count]]


STRATEGIES: dict[str, Strategy] = {
    "opposite": _opposite,
    "important detector": _important,
    "colluding": _colluding,
    "prolific": _prolific,
    "sleeper": _sleeper,
    "sleeper where few look": _patient,
    "unwatched": _unwatched,
    "blinding": _blinding,
    "opening": _opening,
}


def _vote(told: Told, author: str, real: bool, after: float) -> Vote:
    return Vote(told.id, author, real, told.past.ended.timestamp() + after, told.about)
