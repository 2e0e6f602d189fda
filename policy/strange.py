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
    "minutes": ("has lain too high for minutes", "has lain too low for minutes"),
    "quarter": ("has lain too high for a quarter of an hour", "has lain too low for a quarter of an hour"),
    "half-hour": ("has lain too high for half an hour", "has lain too low for half an hour"),
    "hours": ("has lain too high for hours", "has lain too low for hours"),
    "tremble": ("trembles more than on any usual day", "trembles more than on any usual day"),
    "still": ("stands still as on no usual day", "stands still as on no usual day"),
    "season": ("is unusually high for the time of day", "is unusually low for the time of day"),
}
#: Detectors that tell of a series by the course of its platform: this and the metric.
BY_COURSE = "course:"
#: What a look is called, where its name alone would not say it: means, over so long, of how far a series strays from
#: what its platform does at this time of such a day.
LOOKS = {
    "minutes": "mean of 4 minutes",
    "quarter": "mean of a quarter of an hour",
    "half-hour": "mean of half an hour",
    "hours": "mean of 4 hours",
    "tremble": "trembling",
    "still": "standing still",
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


def lasts(detector: str) -> bool:
    """Whether what this detector tells has lasted when it is told: the course's looks are means over minutes."""
    return detector.startswith(BY_COURSE)


def condition(strange: Strange, since: datetime, met: datetime, detector: str) -> Condition:
    """The condition that holds for as long as the series is strange."""
    series, unit, look = strange.series, _unit(strange.series), LOOKS.get(strange.look, strange.look)
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
            f"{actual} in {_name(series)} since {since:%H:%M:%S}; by its {look} {strange.score:.3f} strange, "
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
