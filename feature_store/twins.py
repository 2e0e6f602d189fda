"""Sources that carry the same programme, held against each other: what the programme does, both of them do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tonewatch.records import Sample, Series

LEVEL = "source_level_dbfs"
GAP = "source_twin_gap_db"
#: Below this level (dBFS) one silence is as silent as another.
NOTHING_DBFS = -90.0


def twin_samples(samples: Iterable[Sample], twins: Mapping[str, str]) -> list[Sample]:
    """How far each source's level lies below its twin's, dB: 0 or less, of one round of scrapes.

    twins: source -> the source that carries the same programme. The louder one has no gap, so that a dead line does
    not make its healthy twin look strange. A source of which one of the two levels is missing has no sample.
    """
    levels = {sample.series.entity: sample for sample in samples if sample.series.metric == LEVEL}
    found = []
    for source, twin in sorted(twins.items()):
        own, other = levels.get(source), levels.get(twin)
        if own is not None and other is not None:
            gap = max(own.value, NOTHING_DBFS) - max(other.value, NOTHING_DBFS)
            found.append(Sample(Series(source, GAP, unit="dB"), own.time, min(gap, 0.0)))
    return found
