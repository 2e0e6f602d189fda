from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from feature_store.windows import FeatureFrame, window_features
from tonewatch.errors import ModelError
from tonewatch.records import Sample, Series

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EDGE = "edge:edge-1"
TRANSCODER = "component:transcoder-ch1"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def line(entity: str, metric: str, values: Mapping[float, float], **labels: str) -> list[Sample]:
    series = Series(entity, metric, tuple(labels.items()))
    return [Sample(series, at(second), value) for second, value in values.items()]


def feature(frame: FeatureFrame, name: str) -> list[float]:
    return [float(value) for value in frame.values[:, frame.names.index(name)]]


def test_a_counter_becomes_a_rate_per_second_summed_over_labels() -> None:
    samples = [
        *line(TRANSCODER, "transcode_frames_total", {s: 40.0 * s for s in range(1, 11)}, rendition="aac-64"),
        *line(TRANSCODER, "transcode_frames_total", {s: 7 + 50.0 * s for s in range(1, 11)}, rendition="opus-96"),
    ]
    frame = window_features("transcode", samples, [at(10)], 10.0)
    assert feature(frame, "frames_per_second") == [90.0]


def test_a_counter_that_begins_again_at_zero_does_not_run_backward() -> None:
    values = {1: 100.0, 2: 140.0, 3: 10.0, 4: 50.0}
    frame = window_features("transcode", line(TRANSCODER, "transcode_frames_total", values), [at(4)], 10.0)
    assert feature(frame, "frames_per_second") == [pytest.approx((40 + 10 + 40) / 3)]


def test_a_histogram_becomes_mean_seconds_per_request() -> None:
    samples = [
        *line(EDGE, "http_request_seconds_sum", {1: 1.0, 10: 3.0}),
        *line(EDGE, "http_request_seconds_count", {1: 50.0, 10: 250.0}),
    ]
    assert feature(window_features("edge", samples, [at(10)], 10.0), "seconds_per_request") == [0.01]


def test_errors_are_zero_before_their_counter_exists_and_missing_without_requests() -> None:
    samples = line(EDGE, "http_requests_total", {1: 5.0, 5: 25.0, 15: 25.0, 20: 25.0}, code="200")
    frame = window_features("edge", samples, [at(10), at(20)], 10.0)
    first, second = feature(frame, "errors_per_request")
    assert first == 0.0
    assert np.isnan(second)


def test_only_codes_that_begin_with_5_are_errors() -> None:
    samples = [
        *line(EDGE, "http_requests_total", {1: 0.0, 9: 90.0}, code="200"),
        *line(EDGE, "http_requests_total", {1: 0.0, 9: 6.0}, code="503"),
        *line(EDGE, "http_requests_total", {1: 0.0, 9: 4.0}, code="404"),
    ]
    frame = window_features("edge", samples, [at(10)], 10.0)
    assert feature(frame, "errors_per_request") == [0.06]
    assert feature(frame, "refusals_per_request") == [0.04]


def test_a_window_leaves_out_its_beginning_and_takes_in_its_end() -> None:
    samples = line("component:packager", "package_playlist_age_seconds", {0: 99.0, 1: 2.0, 10: 4.0, 10.5: 99.0})
    frame = window_features("package", samples, [at(10)], 10.0)
    assert feature(frame, "playlist_age_mean") == [3.0]
    assert feature(frame, "playlist_age_max") == [4.0]


def test_a_level_is_averaged_over_its_labels_however_often_each_was_read() -> None:
    samples = [
        *line(TRANSCODER, "transcode_lag_seconds", dict.fromkeys(range(1, 11), 100.0), rendition="aac-64"),
        *line(TRANSCODER, "transcode_lag_seconds", {3: 300.0}, rendition="opus-96"),
    ]
    assert feature(window_features("transcode", samples, [at(10)], 10.0), "lag_mean") == [200.0]


def test_a_named_entity_without_samples_has_a_row_of_nothing() -> None:
    frame = window_features("edge", [], [at(10), at(15)], 10.0, entities=[EDGE])
    assert frame.entities == (EDGE, EDGE)
    assert frame.ends == (at(10), at(15))
    assert np.isnan(frame.values).all()
    assert (frame.coverage == 0).all()


def test_without_entities_there_are_no_rows() -> None:
    frame = window_features("edge", [], [at(10)], 10.0)
    assert frame.values.shape == (0, len(frame.names))
    assert frame.coverage.shape == (0,)


def test_entities_of_other_stages_are_left_out_when_entities_are_named() -> None:
    samples = [
        *line(EDGE, "event_loop_lag_seconds", {1: 0.1}),
        *line("component:origin", "event_loop_lag_seconds", {1: 0.2}),
    ]
    assert window_features("edge", samples, [at(10)], 10.0, entities=[EDGE]).entities == (EDGE,)


@pytest.mark.parametrize(("every", "expected"), [(1.0, 0.5), (2.0, 1.0)])
def test_coverage_is_the_share_of_the_expected_samples(every: float, expected: float) -> None:
    needed = ("probe_playlist_age_seconds", "probe_silence_seconds", "probe_latency_seconds")
    samples = [
        sample
        for metric in needed
        for sample in line("rendition:ch1/aac-64", metric, dict.fromkeys(range(2, 11, 2), 1.0))
    ]
    frame = window_features("rendition", samples, [at(10)], 10.0, every=every)
    assert frame.coverage == pytest.approx([expected])


def test_a_value_that_is_no_number_is_left_out() -> None:
    samples = line("component:packager", "package_playlist_age_seconds", {1: 2.0, 2: float("nan"), 3: float("inf")})
    assert feature(window_features("package", samples, [at(10)], 10.0), "playlist_age_max") == [2.0]


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ModelError, match="no features"):
        window_features("player", [], [at(10)], 10.0)
