"""What of a validation's pages counts."""

from __future__ import annotations

from tasks.validate import STILL, paged
from tests.unit.transcoders import NOON, PARTS, at
from warehouse.validations import Disagreement

FOUND = Disagreement("d", "validation", PARTS[0], "challenger", NOON, at(60), 0.9, at(90))


def test_what_people_made_real_is_no_page_either_while_it_holds_on() -> None:
    """One alarm is met in the first piece and holds for two more; after a pause another one of the same part stands."""
    still = f"{PARTS[0]}{STILL}"
    pieces = (["d"], [still], [still, f"{PARTS[1]}{STILL}"], [], [still])
    nobody: set[str] = set()
    assert [paged(told, {}, nobody) for told in pieces] == [1, 1, 2, 0, 1]
    excused: set[str] = set()
    assert [paged(told, {"d": FOUND}, excused) for told in pieces] == [0, 0, 1, 0, 1]
