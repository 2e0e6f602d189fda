"""What people's labels are worth: who may be believed how far, and what that makes of each incident.

Nobody knows the truth of most incidents, so authors are held against one another and against what was verified. Model:
one coin per author, the accuracy with which he tells real from false (Dawid & Skene 1979, Applied Statistics 28; one
coin and Beta priors as in Liu, Peng & Ihler 2012, Variational Inference for Crowdsourcing), found by expectation and
maximisation. Two departures, against those who mean harm: an author is compared with what the *others* make of an
incident, so that nobody confirms himself, and the share of real incidents is not learned: it would be a lever for
whoever says much. Pure: the same votes give the same opinion.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ml.agreement import Agreement, agreement

#: What is thought of an author of whom nothing is known, and with how many comparisons' force.
PRIOR_RIGHT, PRIOR_WRONG = 4.0, 1.0
#: No author counts as more accurate than the second; one less accurate than the first is not heard, and never turned
#: round.
LEAST_ACCURATE, MOST_ACCURATE = 0.6, 0.9
#: Labels that could be compared from which on an author is known. Their number, not what came of them: nobody else's
#: label takes it back. In the last RECENT of them he is looked at anew.
PROVEN, RECENT = 4, 8
#: All authors together of whom nothing is known reach this far, however many they are: less than SETTLED.
UNPROVEN_REACH = 0.69
#: An incident is settled from this posterior on, in either direction; said: by the only author that a tenant has.
SETTLED, SAID = 0.7, 0.6
#: The weight of a verified outcome, in accuracy.
VERIFIED = 0.97
#: Who means well is wrong this often at most; who is wrong so often that this is less likely than LEVEL is quarantined.
HONEST_ERROR, LEVEL, LEAST_WRONG = 0.25, 0.01, 3
#: Labels of one author within so many seconds count together as so many of them.
BURST_SECONDS, BURST = 3600.0, 10
_ROUNDS = 30


@dataclass(frozen=True, slots=True)
class Vote:
    """One author's word on one incident, at `time` in seconds. about: what it was told by, e.g. the model's family."""

    incident: str
    author: str
    real: bool
    time: float
    about: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is thought of an author. accuracy: 0.5 to MOST_ACCURATE; weight: its log-odds, 0 where he is not heard.

    compared: how many of his labels others or facts speak of too, right: how many of these they bear out, in
    probability; quarantined: why, or empty.
    """

    author: str
    votes: int
    compared: int
    right: float
    accuracy: float
    weight: float
    quarantined: str = ""

    @property
    def proven(self) -> bool:
        """Whether enough is known of him to believe him alone."""
        return self.compared >= PROVEN and not self.quarantined


@dataclass(frozen=True, slots=True)
class Opinion:
    """posteriors: incident -> probability that it was real; behind: incident -> the known authors who say what is
    likelier; verified: the incidents of which that is known without anybody's word; held: what was settled as real
    when fewer had spoken.
    """

    posteriors: Mapping[str, float]
    authors: Mapping[str, Standing]
    agreement: Agreement
    behind: Mapping[str, tuple[str, ...]]
    verified: frozenset[str]
    held: frozenset[str]

    def settled(self, incident: str) -> bool | None:
        """Whether it was real, where that may be built on: nobody's word alone, nor that of new names. None: open.

        What was settled as real once stays so until the contrary is settled: a single doubt afterwards opens nothing.
        """
        backed = incident in self.verified or len(self.behind.get(incident, ())) > 1
        side = _side(self.posteriors.get(incident, 0.5), SETTLED) if backed else None
        return True if side is None and incident in self.held else side

    def said(self, incident: str) -> bool | None:
        """The same by the word of the only author there is, where nobody else could be asked."""
        alone = sum(not each.quarantined for each in self.authors.values()) == 1
        return _side(self.posteriors.get(incident, 0.5), SAID) if alone else None

    def verdict(self, incident: str) -> bool | None:
        """What is settled, else what the only author says: for whatever makes no model by itself."""
        settled = self.settled(incident)
        return self.said(incident) if settled is None else settled


def opinion(votes: Iterable[Vote], verified: Mapping[str, bool] | None = None) -> Opinion:
    """What the votes come to. Of one author on one incident the last counts.

    verified: incident -> whether it was real, from what no label can change: a remedy with a control that worked, a
    rule that needs no learning, listeners who lost sound. Authors who contradict that, or the others, beyond chance are
    quarantined, the clearest first: then the others are looked at again without him.
    """
    known = dict(verified or {})
    last = _last(votes)
    quarantined: dict[str, str] = {}
    while True:
        counted = [vote for vote in last if vote.author not in quarantined]
        accuracy, compared = _learned(counted, known)
        worst = _worst(counted, known, accuracy, compared)
        if worst is None:
            break
        quarantined[worst[0]] = worst[1]
    return _opinion(last, counted, known, accuracy, compared, quarantined)


def quarantine_reason(right: float, compared: float) -> str:
    """Why an author with so many comparisons is to be quarantined; empty: he may just have erred."""
    wrong, of = round(compared - right), round(compared)
    if wrong < LEAST_WRONG or _tail(wrong, of) >= LEVEL:
        return ""
    return f"{wrong} of {of} labels contradict what others say or what was verified, more than chance explains"


Accuracies = dict[tuple[str, str], float]
#: Author -> his votes that others or facts speak of too: how sure these are, and the probability that they agree.
Compared = dict[str, list[tuple[Vote, float, float]]]


def _last(votes: Iterable[Vote]) -> list[Vote]:
    newest: dict[tuple[str, str], Vote] = {}
    for vote in sorted(votes, key=lambda each: (each.time, each.incident, each.author, each.real)):
        newest[vote.author, vote.incident] = vote
    return sorted(newest.values(), key=lambda each: (each.time, each.incident, each.author))


def _learned(votes: Sequence[Vote], verified: Mapping[str, bool]) -> tuple[Accuracies, Compared]:
    """Accuracies by (author, about), and of each author what his votes were compared with."""
    start = PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG)
    accuracy: Accuracies = {(vote.author, vote.about): start for vote in votes}
    bursts, by_incident = _bursts(votes), defaultdict(list)
    for vote in votes:
        by_incident[vote.incident].append(vote)
    shared = [vote for vote in votes if len(by_incident[vote.incident]) > 1 or vote.incident in verified]
    proven = _proven(shared)
    compared: Compared = {}
    for _ in range(_ROUNDS):
        compared = defaultdict(list)
        for vote in shared:
            others = [each for each in by_incident[vote.incident] if each.author != vote.author]
            real = _posterior(others, verified.get(vote.incident), accuracy, proven, bursts)
            compared[vote.author].append((vote, abs(2 * real - 1), real if vote.real else 1 - real))
        after = {key: _accuracy(compared[key[0]], key[1]) for key in accuracy}
        if all(abs(after[key] - accuracy[key]) < 1e-6 for key in accuracy):
            break
        accuracy = after
    return accuracy, compared


def _proven(shared: Iterable[Vote]) -> set[str]:
    """Who is known."""
    return {author for author, count in Counter(vote.author for vote in shared).items() if count >= PROVEN}


def _accuracy(compared: Sequence[tuple[Vote, float, float]], about: str) -> float:
    """The least of what all his votes say, the recent ones, and those on the same matter: one who was good for long,
    or is everywhere else, is believed no more than he deserves here and now.
    """
    parts = (compared, compared[-RECENT:], [each for each in compared if each[0].about == about])
    least = min(
        (PRIOR_RIGHT + sum(mass * right for _, mass, right in part))
        / (PRIOR_RIGHT + PRIOR_WRONG + sum(mass for _, mass, _ in part))
        for part in parts
    )
    return min(max(least, 0.5), MOST_ACCURATE)


def _posterior(
    votes: Sequence[Vote],
    verified: bool | None,
    accuracy: Accuracies,
    proven: set[str],
    bursts: Mapping[Vote, float],
) -> float:
    """Probability that it was real, by these votes and what was verified.

    Where one who is proven speaks, or something is verified, those of whom nothing is known are not heard: new names
    cost nothing, and many of them must not outvote him.
    """
    known, unknown, heard = 0.0, 0.0, verified is not None
    for vote in votes:
        said = (1.0 if vote.real else -1.0) * _heard(accuracy[vote.author, vote.about]) * bursts[vote]
        if vote.author in proven:
            known, heard = known + said, heard or said != 0.0
        else:
            unknown += said
    if verified is not None:
        known += _odds(VERIFIED) if verified else -_odds(VERIFIED)
    if not heard:
        reach = _odds(UNPROVEN_REACH)
        known = max(-reach, min(reach, unknown))
    return 1.0 / (1.0 + math.exp(-known))


def _worst(
    votes: Sequence[Vote], verified: Mapping[str, bool], accuracy: Accuracies, compared: Compared
) -> tuple[str, str] | None:
    """Who contradicts most clearly what is settled without him, and why; what new authors say settles nothing."""
    proven = {author for author, of in compared.items() if len(of) >= PROVEN}
    bursts, found = _bursts(votes), []
    for author, of in compared.items():
        told = []
        for vote, _, _ in of:
            others = [e for e in votes if e.incident == vote.incident and e.author != author and e.author in proven]
            settled = _side(_posterior(others, verified.get(vote.incident), accuracy, proven, bursts), SETTLED)
            if settled is not None:
                told.append((vote, settled == vote.real))
        parts = [told, told[-RECENT:]]
        parts += [[each for each in told if each[0].about == about] for about in {vote.about for vote, _ in told}]
        for part in parts:
            right = sum(agrees for _, agrees in part)
            if reason := quarantine_reason(right, len(part)):
                found.append((_tail(len(part) - right, len(part)), author, reason))
    return min(found)[1:] if found else None


def _opinion(
    last: Sequence[Vote],
    counted: Sequence[Vote],
    verified: Mapping[str, bool],
    accuracy: Accuracies,
    compared: Compared,
    quarantined: Mapping[str, str],
) -> Opinion:
    standings: dict[str, Standing] = {}
    for author in sorted({vote.author for vote in last}):
        of, votes = compared.get(author, []), sum(vote.author == author for vote in last)
        right = round(sum(each[2] for each in of), 6)
        known = min((value for (who, _), value in accuracy.items() if who == author), default=0.5)
        standings[author] = Standing(author, votes, len(of), right, known, _heard(known))
        if author in quarantined:
            standings[author] = replace(standings[author], accuracy=0.5, weight=0.0, quarantined=quarantined[author])
    proven = {author for author, each in standings.items() if each.proven}
    bursts, said, by_incident = _bursts(counted), defaultdict(list), defaultdict(list)
    for vote in counted:
        by_incident[vote.incident].append(vote)
        said[vote.incident].append(vote.real)

    def look(incident: str, count: int) -> tuple[float, tuple[str, ...]]:
        of = by_incident[incident][:count]
        real = _posterior(of, verified.get(incident), accuracy, proven, bursts)
        backers = (
            vote.author
            for vote in of
            if vote.author in proven and _heard(accuracy[vote.author, vote.about]) and vote.real == (real > 0.5)
        )
        return real, tuple(sorted(backers))

    seen = {incident: look(incident, len(by_incident[incident])) for incident in sorted({*by_incident, *verified})}
    held = frozenset(
        incident
        for incident, of in by_incident.items()
        if any(
            real >= SETTLED and len(backers) > 1 for real, backers in (look(incident, at) for at in range(2, len(of)))
        )
    )
    return Opinion(
        {incident: real for incident, (real, _) in seen.items()},
        standings,
        agreement(said),
        {incident: backers for incident, (_, backers) in seen.items() if incident in said},
        frozenset(verified),
        held,
    )


def _bursts(votes: Sequence[Vote]) -> dict[Vote, float]:
    """What share of each vote counts, by how many its author gave at about that time."""
    times = defaultdict(list)
    for vote in votes:
        times[vote.author].append(vote.time)
    return {
        vote: min(1.0, BURST / sum(abs(time - vote.time) <= BURST_SECONDS / 2 for time in times[vote.author]))
        for vote in votes
    }


def _side(posterior: float, least: float) -> bool | None:
    return True if posterior >= least else False if posterior <= 1 - least else None


def _heard(accuracy: float) -> float:
    """The weight of a word."""
    return _odds(accuracy) if accuracy >= LEAST_ACCURATE else 0.0


def _odds(chance: float) -> float:
    return math.log(chance / (1.0 - chance))


def _tail(wrong: int, of: int) -> float:
    """The chance that one who errs with HONEST_ERROR does so `wrong` times or more of `of`."""
    error, right = math.log(HONEST_ERROR), math.log1p(-HONEST_ERROR)
    ways = (math.lgamma(of + 1) - math.lgamma(n + 1) - math.lgamma(of - n + 1) for n in range(wrong, of + 1))
    each = (math.exp(way + n * error + (of - n) * right) for n, way in enumerate(ways, start=wrong))
    return min(1.0, sum(each))  # by logarithms: of a thousand labels there are more ways than a float can count
