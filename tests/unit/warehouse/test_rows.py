from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tonewatch.errors import WarehouseError
from tonewatch.records import FindingKind, GuardAnswer
from warehouse.rows import clean, document, utc

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_document_holds_what_records_hold() -> None:
    value = {
        "kind": FindingKind.RULE,
        "at": TIME,
        "guards": (GuardAnswer("rate", True, "why"),),
        "none": None,
        1: {2.5},
    }
    assert json.loads(document(value)) == {
        "kind": "rule",
        "at": "2026-01-01T00:00:00+00:00",
        "guards": [{"guard": "rate", "allowed": True, "reason": "why"}],
        "none": None,
        "1": [2.5],
    }


def test_a_number_that_is_none_is_written_by_its_name() -> None:
    assert json.loads(document([float("nan"), float("inf"), float("-inf")])) == ["nan", "inf", "-inf"]


def test_a_time_without_a_zone_is_refused_however_deep_it_lies() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the point
    with pytest.raises(WarehouseError, match="no time zone"):
        document({"a": [{"b": naive}]})
    with pytest.raises(WarehouseError, match="no time zone"):
        utc(naive)
    assert utc(TIME) is TIME


@given(st.text(st.characters(codec=None)))
def test_cleaned_text_is_text_that_postgresql_takes(text: str) -> None:
    cleaned = clean(text)
    assert "\0" not in cleaned
    assert len(cleaned) == len(text)
    cleaned.encode("utf-8")
    assert clean(cleaned) == cleaned


@given(st.text())
def test_text_that_postgresql_takes_stays_as_it_is(text: str) -> None:
    assert clean(text) == text.replace("\0", "\ufffd")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
        st.lists,
    )
)
def test_a_document_reads_back_as_it_was(value: object) -> None:
    written = document(value)
    assert "\\u0000" not in written
    if "\0" not in str(value) and "\\x00" not in repr(value):
        assert json.loads(written) == value
