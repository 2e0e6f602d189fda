"""How a strange series is told to people: what was expected, what came, since when, and how sure that is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from policy.conditions import Condition
from tonewatch.records import FindingKind, Series, SeriesKind

#: What a look at a series is surprised by: when the value lies above what was expected, and when below.
SURPRISES = {
    "level": ("is higher than it ever was", "is lower than it ever was"),
    "step": ("has jumped up as it never did", "has dropped as it never did"),
    "mean": ("stays higher than it ever did", "stays lower than it ever did"),
    "season": ("is unusually high for the time of day", "is unusually low for the time of day"),
}
ANYHOW = ("is unusually high", "is unusually low")
#: Labels of a series that are named; more would hide what matters.
NAMED = 4


@dataclass(frozen=True, slots=True)
class Strange:
    """A series that is strange, as the most surprised look at it says.

    expected, actual: in the series' unit, of a counter per second; score: above `threshold`, which `rate` incidents of
    all families in a calm budget week go with; model_version: of what scored.
    """

    series: Series
    look: str
    expected: float
    actual: float
    score: float
    threshold: float
    rate: float
    model_version: str


def condition(strange: Strange, since: datetime, met: datetime, detector: str) -> Condition:
    """The condition that holds for as long as the series is strange."""
    series, unit = strange.series, _unit(strange.series)
    expected, actual = (f"{_figure(value)}{unit}" for value in (strange.expected, strange.actual))
    return Condition(
        entity=series.entity,
        symptom="anomaly",
        detector=detector,
        kind=FindingKind.SIGNAL,
        since=since,
        met=met,
        summary=f"{_name(series)} of {series.entity} {_surprise(strange)}: {actual} instead of about {expected}",
        expected=f"about {expected}",
        actual=(
            f"{actual} in {_name(series)} since {since:%H:%M:%S}; by its {strange.look} {strange.score:.3f} strange, "
            f"told above {strange.threshold:.3f}, as happens {strange.rate:.2g} times in a calm week"
        ),
        score=strange.score,
        rate=strange.rate,
        features=((strange.look, strange.score),),
        model_version=strange.model_version,
    )


def _surprise(strange: Strange) -> str:
    words = SURPRISES.get(strange.look.partition(" ")[0], ANYHOW)
    return words[0] if strange.actual > strange.expected else words[1]


def _name(series: Series) -> str:
    """The metric with the labels that tell this series from its like."""
    labels = [f"{name}={value}" for name, value in series.labels[:NAMED]]
    more = [f"{len(series.labels) - NAMED} more"] if len(series.labels) > NAMED else []
    return f"{series.metric}{{{', '.join([*labels, *more])}}}" if labels else series.metric


def _unit(series: Series) -> str:
    per = "/s" if series.kind is SeriesKind.COUNTER else ""
    return f" {series.unit}{per}" if series.unit else " per s" if per else ""


def _figure(value: float) -> str:
    """Four digits, and what is nearly nothing as nothing."""
    return "0" if abs(value) < 1e-9 else f"{value:.4g}"
