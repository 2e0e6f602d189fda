from __future__ import annotations

import pytest

from feature_store.definitions import (
    FAMILIES,
    Reading,
    by_family,
    features,
    fingerprint,
    floors,
    metrics,
    names,
    needed,
)
from tonewatch.errors import ModelError
from tonewatch.records import Entity


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_four_to_eight_features_of_different_names(family: str) -> None:
    assert 4 <= len(names(family)) <= 8
    assert len(set(names(family))) == len(names(family)) == len(floors(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_feature_says_what_it_is_computed_from(family: str) -> None:
    for feature in features(family):
        assert feature.family == family
        assert feature.unit
        assert feature.floor > 0
        assert bool(feature.per) == (feature.reading is Reading.RATIO)
        assert set(feature.metrics) | set(feature.per) <= metrics(family)


def test_what_comes_with_a_segment_is_not_expected_at_every_probe() -> None:
    assert needed("rendition") == ("probe_latency_seconds", "probe_playlist_age_seconds")


def test_what_needs_a_twin_is_not_expected_of_all() -> None:
    assert "source_twin_gap_db" in metrics("source")
    assert "source_twin_gap_db" not in needed("source")


def test_no_feature_follows_the_programme() -> None:
    content = {"source_level_dbfs", "transcode_segment_bytes", "probe_loudness_lufs", "probe_silence_seconds"}
    assert not content & {metric for family in FAMILIES for metric in metrics(family)}


def test_a_counter_that_need_not_exist_yet_is_not_expected() -> None:
    assert "edge_upstream_errors_total" in metrics("edge")
    assert "edge_upstream_errors_total" not in needed("edge")


def test_fingerprints_of_families_differ_and_stay() -> None:
    assert len({fingerprint(family) for family in FAMILIES}) == len(FAMILIES)
    assert fingerprint("edge") == fingerprint("edge")


def test_an_unknown_family_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ModelError, match="transcode"):
        features("player")


def test_entities_are_sorted_into_families_by_their_stage() -> None:
    entities = [
        Entity("edge:edge-2", "edge"),
        Entity("edge:edge-1", "edge"),
        Entity("channel:ch1", "channel"),
        Entity("component:origin", "origin"),
    ]
    assert by_family(entities) == {"origin": ("component:origin",), "edge": ("edge:edge-1", "edge:edge-2")}
