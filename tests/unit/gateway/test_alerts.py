"""An Alertmanager's notification, read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.alerts import Message, read, series
from gateway.naming import Naming
from tonewatch.errors import PayloadError, PayloadTooLarge
from tonewatch.records import Alert
from tonewatch.settings import NamingRule

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LABELS = {"alertname": "Slow", "job": "edge", "severity": "page"}
NEVER = "0001-01-01T00:00:00Z"
#: As Alertmanager 0.25 sends it.
FIRING: dict[str, Any] = {
    "status": "firing",
    "labels": LABELS,
    "annotations": {"summary": "x"},
    "startsAt": "2026-03-01T11:59:30.180623681Z",
    "endsAt": NEVER,
    "generatorURL": "",
    "fingerprint": "e0b6c3b16915c25f",
}
STARTED = datetime(2026, 3, 1, 11, 59, 30, 180623, tzinfo=UTC)


def message(*alerts: Any, **further: Any) -> bytes:
    told = {"version": "4", "status": "firing", "receiver": "tonewatch", "groupKey": "{}", "truncatedAlerts": 0}
    return json.dumps(told | {"alerts": list(alerts)} | further).encode()


def reading(*alerts: Any, **further: Any) -> Message:
    return read(message(*alerts, **further), NOW, 100)


def test_an_alert_that_fires_has_no_end() -> None:
    assert reading(FIRING) == Message([Alert(tuple(sorted(LABELS.items())), STARTED)])


@pytest.mark.parametrize(
    ("ends", "ended"),
    [
        ("2026-03-01T11:59:50Z", NOW - timedelta(seconds=10)),
        (NEVER, NOW),
        (None, NOW),
        ("2026-03-01T12:30:00Z", NOW),
        ("1970-01-01T00:00:00Z", NOW),
        ("9999-12-31T23:59:59-14:00", NOW),
    ],
)
def test_what_is_resolved_has_ended_by_now(ends: str | None, ended: datetime) -> None:
    told = {name: value for name, value in FIRING.items() if name != "endsAt"} | ({"endsAt": ends} if ends else {})
    (alert,) = reading(told | {"status": "resolved"}).alerts
    assert alert.ended == ended


def test_an_alert_may_tell_its_own_end() -> None:
    (alert,) = reading(FIRING | {"endsAt": "2026-03-01T12:05:00Z"}).alerts
    assert alert.ended == NOW + timedelta(minutes=5)
    (far,) = reading(FIRING | {"endsAt": "2100-01-01T00:00:00Z"}).alerts
    assert far.ended == NOW + timedelta(days=366)


def test_an_alert_is_the_series_that_its_prometheus_would_tell_it_by() -> None:
    (alert,) = reading(FIRING | {"labels": LABELS | {"empty": ""}}).alerts
    told = series(alert.labels)
    assert told.metric == "ALERTS"
    assert dict(told.labels) == LABELS | {"alertstate": "firing"}
    rule = NamingRule(match={"job": "edge"}, entity="edge:{job}")
    assert Naming([rule]).entity(told) == "edge:edge"


def test_a_tenants_name_in_the_labels_is_a_label_like_any_other() -> None:
    (alert,) = reading(FIRING | {"labels": LABELS | {"tenant": "another"}}).alerts
    assert ("tenant", "another") in alert.labels


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"status": "pending"}, "status: Input should be 'firing' or 'resolved'"),
        ({"labels": {}}, "an alert without labels"),
        ({"labels": {"a": 1}}, "labels.a: Input should be a valid string"),
        ({"labels": [["a", "b"]]}, "labels: Input should be a valid dictionary"),
        ({"labels": {f"l{n}": "x" for n in range(65)}}, "more than 64 labels"),
        ({"labels": {"a": "x" * 2049}}, "longer than 2048 bytes"),
        ({"labels": {"a": "\0"}}, "zero character"),
        ({"labels": {"": "x"}}, "empty"),
        ({"startsAt": "1970-01-01T00:00:00Z"}, "before the year 2000"),
        ({"startsAt": "2100-01-01T00:00:00Z"}, "more than a day ahead"),
        ({"startsAt": "0001-01-01T00:00:00+14:00"}, "before the year 2000"),
        ({"startsAt": "2026-03-01T12:00:00"}, "time zone"),
        ({"startsAt": 1e308}, "as text"),
        ({"startsAt": None}, "as text"),
    ],
)
def test_an_alert_with_a_fault_is_named_and_the_others_are_kept(fault: dict[str, Any], told: str) -> None:
    found = reading(FIRING | fault, FIRING)
    assert len(found.alerts) == 1
    ((number, reason),) = found.refused
    assert number == 1
    assert told in reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"version": "4"}',
        b'{"version": "4", "alerts": {}}',
        message(FIRING, version="1"),
        message(FIRING, version=4),
        b'{"version": "4", "alerts": ' + b"[" * 100_000,
        b'{"version": "4", "alerts": [], "x": ' + b"9" * 5000 + b"}",
        b'{"version": "4", "alerts": [], "x": NaN}',
        message(FIRING).replace(b"Slow", b"\xff\xfe"),
        message(FIRING).replace(b"Slow", b"\\ud800"),
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_what_is_no_notification_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError):
        read(body, NOW, 100)


def test_an_object_that_is_no_alert_is_named() -> None:
    assert reading(None, 7, []).refused == [(n, "an alert is a JSON object") for n in (1, 2, 3)]


def test_too_many_alerts_are_too_large_and_those_left_out_are_told() -> None:
    with pytest.raises(PayloadTooLarge):
        read(message(FIRING, FIRING), NOW, 1)
    assert reading(FIRING, truncatedAlerts=7).truncated == 7
    assert [reading(FIRING, truncatedAlerts=each).truncated for each in (-(10**400), True, "7", None)] == [0, 0, 0, 0]
