from __future__ import annotations

import pytest

from feature_store.twins import twin_samples
from tests.unit.platform_parts import at
from tonewatch.records import Sample, Series

PRIMARY, BACKUP, LONE = "component:source-ch1-primary", "component:source-ch1-backup", "component:source-ch9"
TWINS = {PRIMARY: BACKUP, BACKUP: PRIMARY}


def gaps(levels: dict[str, float]) -> dict[str, float]:
    told = [Sample(Series(source, "source_level_dbfs"), at(3), level) for source, level in levels.items()]
    found = twin_samples(told, TWINS)
    assert all(sample.series.metric == "source_twin_gap_db" and sample.time == at(3) for sample in found)
    return {sample.series.entity: sample.value for sample in found}


@pytest.mark.parametrize("level", [-12.0, -35.0, -58.0, -120.0])
def test_programme_that_both_carry_leaves_no_gap_however_quiet(level: float) -> None:
    assert gaps({PRIMARY: level, BACKUP: level}) == {PRIMARY: 0.0, BACKUP: 0.0}


def test_dead_line_has_a_gap_and_its_healthy_twin_has_none() -> None:
    assert gaps({PRIMARY: -120.0, BACKUP: -25.0}) == {PRIMARY: -65.0, BACKUP: 0.0}


def test_source_without_a_twin_or_a_level_has_no_gap() -> None:
    assert gaps({LONE: -20.0}) == {}
    assert gaps({PRIMARY: -20.0}) == {}
