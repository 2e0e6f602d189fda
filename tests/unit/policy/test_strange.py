"""How a strange series is put into words."""

from __future__ import annotations

import pytest

from policy.strange import Strange, condition
from tests.unit.platform_parts import at
from tonewatch.records import Series, SeriesKind

LAG = Series("edge:edge-1", "lag_seconds", (("loop", "main"),), "s")


def said(series: Series, look: str, expected: float, actual: float) -> tuple[str, str, str]:
    strange = Strange(series, look, expected, actual, 0.71, 0.5, 0.05, "series:x/1")
    found = condition(strange, at(0), at(10), "series:x")
    return found.summary, found.expected, found.actual


@pytest.mark.parametrize(
    ("look", "actual", "words"),
    [
        ("level", 30.0, "is higher than it ever was: 30 s instead of about 10 s"),
        ("level", 0.0, "is lower than it ever was: 0 s instead of about 10 s"),
        ("step", 30.0, "has jumped up as it never did"),
        ("mean of 4", 0.001, "stays lower than it ever did: 0.001 s"),
        ("season", 30.0, "is unusually high for the time of day"),
        ("a look of tomorrow", 30.0, "is unusually high"),
    ],
)
def test_each_look_has_words_of_its_own(look: str, actual: float, words: str) -> None:
    summary, _, _ = said(LAG, look, 10.0, actual)
    assert summary.startswith(f"lag_seconds{{loop=main}} of edge:edge-1 {words}")


def test_it_is_said_what_was_expected_what_came_since_when_and_how_sure() -> None:
    _, expected, actual = said(LAG, "level", 10.0, 30.0)
    assert expected == "about 10 s"
    assert actual == (
        "30 s in lag_seconds{loop=main} since 12:00:00; by its level 0.710 strange, "
        "told above 0.500, as happens 0.05 times in a calm week"
    )


def test_a_counter_is_told_per_second_and_of_many_labels_a_few() -> None:
    labels = tuple((f"label{number}", "x") for number in range(6))
    counter = Series("edge:edge-1", "requests_total", labels, "", SeriesKind.COUNTER)
    summary, expected, _ = said(counter, "level", 10.0, 30.0)
    assert expected == "about 10 per s"
    assert "label3=x, 2 more}" in summary
    assert said(Series("a:b", "bytes_total", (), "B", SeriesKind.COUNTER), "level", 1.0, 2.0)[1] == "about 1 B/s"
