from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from feature_store.definitions import FAMILIES, features, fingerprint
from feature_store.offline import ends_within, grid
from feature_store.views import OWNERS, refuse_other, view, views
from tonewatch.clock import moment
from tonewatch.errors import FeatureError
from tonewatch.settings import load_profile

DEMO = load_profile("demo")
EDGE = view("edge", DEMO)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_there_is_a_view_of_every_family_and_each_has_an_owner() -> None:
    assert [each.name for each in views(DEMO)] == list(FAMILIES) == list(OWNERS)
    assert all(each.features == features(each.name) for each in views(DEMO))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_views_definition_is_the_fingerprint_that_models_carry(family: str) -> None:
    assert view(family, DEMO).definition == fingerprint(family)


def test_whatever_changes_a_rows_numbers_changes_the_views_id_and_nothing_else_does() -> None:
    first, *rest = EDGE.features
    others = [
        replace(EDGE, seconds=EDGE.seconds + 1),
        replace(EDGE, every=EDGE.every + 1),
        replace(EDGE, features=tuple(rest)),
        replace(EDGE, features=(*rest, first)),
        replace(EDGE, features=(replace(first, version=2), *rest)),
        replace(EDGE, features=(replace(first, unit="ms"), *rest)),
        view("origin", DEMO),
    ]
    ids = [EDGE.id, *(other.id for other in others)]
    assert len(set(ids)) == len(ids)
    assert all(0 <= id_ < 2**63 for id_ in ids)
    assert replace(EDGE, owner="someone", ttl=timedelta(days=1), fresh=timedelta(days=1)).id == EDGE.id


def test_windows_are_those_that_lie_within_a_stretch_whole() -> None:
    step = timedelta(seconds=EDGE.seconds)
    assert ends_within(EDGE, NOON, NOON + 3 * step) == [NOON + step, NOON + 2 * step, NOON + 3 * step]
    assert ends_within(EDGE, NOON - timedelta(microseconds=1), NOON) == [NOON]
    assert ends_within(EDGE, NOON, NOON) == ends_within(EDGE, NOON, NOON - step) == []
    labels = grid(EDGE, ["edge:b", "edge:a", "edge:b"], NOON + timedelta(seconds=1), NOON + 3 * step)
    assert labels.names == ("edge:a", "edge:b")
    assert [moment(time) for time in labels.times.tolist()] == [NOON + 2 * step, NOON + 3 * step] * 2
    assert labels.places.tolist() == [0, 0, 1, 1]


def test_rows_of_another_view_do_not_do() -> None:
    refuse_other(EDGE, [view("origin", DEMO).stored, EDGE.stored])
    with pytest.raises(FeatureError, match="none of it at all"):
        refuse_other(EDGE, [view("origin", DEMO).stored])
    with pytest.raises(FeatureError, match=f"rows of {EDGE.definition[:8]} with windows of 77 s"):
        refuse_other(EDGE, [replace(EDGE, seconds=77.0).stored])
