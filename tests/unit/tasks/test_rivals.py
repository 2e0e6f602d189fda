"""What becomes of the gate's word where a family has a champion that could not be asked."""

from __future__ import annotations

import pytest

from tasks.prove import Rival, Verdict, beside
from tests.unit.transcoders import forest

SILENT = "the champion 7 cannot score here: "
ALONE = Verdict(True, "finds 50 of 120 injected anomalies; there is no champion")


def test_the_first_of_a_family_is_champion_at_once() -> None:
    assert beside(Rival(), ALONE) == ALONE
    assert ALONE.standing == "champion"


@pytest.mark.parametrize(
    ("rival", "why"),
    [
        (Rival("7", None, "it is retired"), "it is retired"),
        (Rival("7", forest("7")), "it fails on the held-out calm"),
    ],
    ids=["retired", "failing"],
)
def test_what_passes_without_its_champion_stays_challenger_and_says_why(rival: Rival, why: str) -> None:
    told = beside(rival, ALONE)
    assert (told.standing, told.champion, told.silent) == ("challenger", "7", f"{SILENT}{why}")
    assert told.reason == f"finds 50 of 120 injected anomalies; {told.silent}"


@pytest.mark.parametrize(
    "compared",
    [
        Verdict(True, "finds 50 of 120 injected anomalies, the champion 7 49", "7"),
        Verdict(False, "the held-out calm has no 9 ticks in a row in which anything could be found"),
    ],
    ids=["passed", "refused"],
)
def test_a_champion_that_was_asked_is_not_said_to_be_silent(compared: Verdict) -> None:
    assert beside(Rival("7", forest("7")), compared) == compared
