"""Ids of series are remembered, the objects that asked for them are not."""

from __future__ import annotations

import gc

from tonewatch.records import Series
from warehouse.samples import series_id


def alive(metric: str) -> int:
    gc.collect()
    return sum(isinstance(each, Series) and each.metric == metric for each in gc.get_objects())


def test_series_that_is_a_new_object_each_time_does_not_pile_up() -> None:
    ids = {series_id(Series("rendition:a", "probe_piled_up", (("n", str(n % 3)),))) for n in range(1000)}
    assert len(ids) == 3
    assert alive("probe_piled_up") <= 6  # of each the first, which was hashed, and the last


def test_object_that_comes_again_and_its_equal_have_the_id_of_the_series() -> None:
    held = Series("rendition:a", "probe_comes_again")
    found = [series_id(each) for each in (held, Series("rendition:a", "probe_comes_again"), held, held)]
    assert set(found) == {held.id}
