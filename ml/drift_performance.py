"""Performance drift: whether more of what was told is false, or more is missed, than was. Pure.

What people say comes late and is little: shares have intervals (Clopper and Pearson: The use of confidence or fiducial
limits, Biometrika 26, 1934), and few verdicts are no judgement.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml.drift import Verdict, holm

#: The chance that a comparison of two periods that are alike says drift.
ALPHA = 0.01
#: A smaller rise of a share is no drift, however sure it is.
LEAST = 0.15
#: Fewer verdicts in one of the periods say nothing.
FEWEST = 10


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of a period, incidents that people judged: false alarms, real ones, and such that they told and nothing found."""

    false: int
    real: int
    missed: int


@dataclass(frozen=True, slots=True)
class ShareShift:
    """A share in the reference and now. low, high: 95 % interval of the current one; effect: by how much it rose; p, q:
    of a rise (Fisher's exact test), after Holm; of: verdicts that the current share is of.
    """

    name: str
    reference: float
    current: float
    low: float
    high: float
    effect: float
    p: float
    q: float
    verdict: Verdict
    of: int
    told: str


def performance(reference: Outcomes, current: Outcomes) -> tuple[ShareShift, ShareShift]:
    """The shares of false alarms among what was told, and of missed incidents among the real ones."""
    pairs = [
        ("false-alarm-share", (reference.false, reference.false + reference.real), (current.false, _told(current))),
        ("missed-share", (reference.missed, reference.missed + reference.real), (current.missed, _real(current))),
    ]
    chances = [_chance(then, now) for _, then, now in pairs]
    adjusted = iter(holm([chance for chance in chances if chance is not None]))
    first, second = (
        _share(name, then, now, chance, None if chance is None else next(adjusted))
        for (name, then, now), chance in zip(pairs, chances, strict=True)
    )
    return first, second


def interval(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    from scipy.stats import beta  # a second of import that only a check pays

    low = float(beta.ppf(0.025, count, of - count + 1)) if count else 0.0
    return low, float(beta.ppf(0.975, count + 1, of - count)) if count < of else 1.0


def _told(outcomes: Outcomes) -> int:
    return outcomes.false + outcomes.real


def _real(outcomes: Outcomes) -> int:
    return outcomes.missed + outcomes.real


def _chance(then: tuple[int, int], now: tuple[int, int]) -> float | None:
    """Of so great a rise, if nothing changed; None: too few verdicts."""
    if min(then[1], now[1]) < FEWEST:
        return None
    from scipy.stats import fisher_exact

    table = [[now[0], now[1] - now[0]], [then[0], then[1] - then[0]]]
    return float(fisher_exact(table, alternative="greater").pvalue)


def _share(
    name: str, then: tuple[int, int], now: tuple[int, int], chance: float | None, adjusted: float | None
) -> ShareShift:
    before, share = (count / of if of else float("nan") for count, of in (then, now))
    low, high = interval(*now)
    effect = share - before
    if chance is None or adjusted is None:
        few = f"{now[1]} verdicts now and {then[1]} before; each needs {FEWEST}"
        none = float("nan")
        return ShareShift(name, before, share, low, high, effect, none, none, Verdict.UNJUDGED, now[1], few)
    drifted = adjusted <= ALPHA and effect >= LEAST
    told = f"{share:.0%} ({low:.0%} to {high:.0%}) of {now[1]}, was {before:.0%} of {then[1]}"
    verdict = Verdict.DRIFT if drifted else Verdict.STEADY
    return ShareShift(name, before, share, low, high, effect, chance, adjusted, verdict, now[1], told)
