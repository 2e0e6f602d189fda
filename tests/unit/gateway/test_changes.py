from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.changes import read
from tonewatch.errors import PayloadError
from tonewatch.records import Change

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "id": "deploy-1",
    "kind": "release",
    "entity": "component:packager",
    "started": "2026-01-31T11:59:00+00:00",
    "ended": None,
    "author": "ci",
    "summary": "packager 2.4",
}


def reading(document: object) -> tuple[list[Change], list[tuple[int, str]]]:
    return read(json.dumps(document).encode(), NOW, 100)


def test_a_change_is_read_alone_or_in_a_list() -> None:
    expected = Change(
        "deploy-1",
        "release",
        "component:packager",
        datetime(2026, 1, 31, 11, 59, tzinfo=UTC),
        None,
        "ci",
        "packager 2.4",
    )
    assert reading(GOOD) == ([expected], [])
    assert reading([GOOD, GOOD | {"id": "deploy-2"}])[0][0] == expected


def test_an_end_may_be_left_out_and_zones_are_kept_apart() -> None:
    ended = {"started": "2026-01-31T11:00:00Z", "ended": "2026-01-31T13:30:00+02:00"}
    (change,), faults = reading(GOOD | ended)
    assert faults == []
    assert change.ended == datetime(2026, 1, 31, 11, 30, tzinfo=UTC)
    assert reading({key: value for key, value in GOOD.items() if key != "ended"})[1] == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"ended": "2026-01-31T11:58:59+00:00"}, "ended is before started"),
        ({"started": "2026-01-31T12:00:00"}, "time zone"),
        ({"started": 1769860800}, "as text"),
        ({"started": True}, "as text"),
        ({"started": "yesterday"}, "ISO 8601"),
        ({"started": None}, "as text"),
        ({"started": "2028-01-31T12:00:00+00:00"}, "a year away"),
        ({"started": "0001-01-01T00:00:00+00:00"}, "a year away"),
        ({"entity": "packager"}, "id of a part"),
        ({"entity": "component:../../x y"}, "id of a part"),
        ({"entity": "component:" + "x" * 300}, "id of a part"),
        ({"entity": 7}, "id of a part"),
        ({"kind": "party"}, "release"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"author": ""}, "author"),
        ({"summary": "x" * 2001}, "summary"),
        ({"finished": "2026-01-31T12:00:00+00:00"}, "'finished' is no key of a change; known are id, kind"),
    ],
)
def test_a_change_with_a_fault_is_refused_with_its_number_and_reason(fault: dict[str, Any], told: str) -> None:
    changes, faults = reading([GOOD, GOOD | fault])
    assert len(changes) == 1
    ((number, reason),) = faults
    assert number == 2
    assert told in reason


@pytest.mark.parametrize("name", [name for name in GOOD if name != "ended"])
def test_a_change_that_lacks_a_key_is_refused(name: str) -> None:
    (fault,) = reading({key: value for key, value in GOOD.items() if key != name})[1]
    assert fault == (1, f"{name} is missing")


@pytest.mark.parametrize("item", [None, 7, "text", [], [GOOD]])
def test_what_is_no_object_is_no_change(item: object) -> None:
    assert reading([item])[1] == [(1, "a change is a JSON object")]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b'{"id": NaN}', "no JSON"),
        (b"[" * 60_000, "no JSON"),
        (b"[" * 30_000 + b"]" * 30_000, "no JSON"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "no JSON"),
        (b"[]", "no change"),
        (b"[" + b",".join([b"1"] * 101) + b"]", "more than 100"),
    ],
)
def test_a_body_that_holds_no_changes_is_refused(body: bytes, told: str) -> None:
    with pytest.raises(PayloadError, match=told):
        read(body, NOW, 100)


def test_what_was_sent_is_not_repeated_in_the_reason() -> None:
    for fault in ({"entity": "SECRET"}, {"kind": "SECRET"}, {"started": "SECRET"}, {"id": "SECRET\n"}):
        assert "SECRET" not in reading(GOOD | fault)[1][0][1]
