"""What an Alertmanager posts: its webhook's format, version 4. Pure: bytes in, alerts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.documents import Moment, read_json, reasons
from gateway.remote_write import MAX_LABEL_BYTES, MAX_LABELS, Labelled
from tonewatch.errors import PayloadError, PayloadTooLarge
from tonewatch.records import Alert

VERSION: Final = "4"
#: The series by which Prometheus itself tells of its alerts (policy/alerts.py reads it).
ALERTS: Final = "ALERTS"
#: A clock may run ahead of ours; one that is further off was never set.
AHEAD: Final = timedelta(days=1)
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)


class _Told(BaseModel):
    # What a later Alertmanager adds must not stop its alerts.
    model_config = ConfigDict(extra="ignore", strict=True)

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    startsAt: Moment  # noqa: N815 - the format's own name
    endsAt: Moment | None = None  # noqa: N815 - the format's own name


@dataclass(frozen=True, slots=True)
class Message:
    """One notification. refused: (number of the alert from 1, reason); truncated: alerts that its sender left out."""

    alerts: list[Alert] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    truncated: int = 0


def read(body: bytes, now: datetime, most: int) -> Message:
    """The alerts in `body`, those that are good.

    Raises PayloadError: no JSON, or not this format; PayloadTooLarge: more than `most` alerts.
    """
    document = read_json(body)
    if not isinstance(document, dict) or not isinstance(document.get("alerts"), list):
        raise PayloadError("the body is no notification of an Alertmanager: an object with a list `alerts`")
    if document.get("version") != VERSION:
        raise PayloadError(f'version must be "{VERSION}": the format of Alertmanager\'s webhook')
    if len(document["alerts"]) > most:
        raise PayloadTooLarge(f"more than {most} alerts in one notification: set max_alerts, or group by more labels")
    left_out = document.get("truncatedAlerts")
    message = Message(truncated=left_out if type(left_out) is int and 0 < left_out < 10**9 else 0)
    for number, each in enumerate(document["alerts"], start=1):
        try:
            message.alerts.append(_alert(each, now))
        except PayloadError as error:
            message.refused.append((number, str(error)))
    return message


def series(labels: tuple[tuple[str, str], ...]) -> Labelled:
    """An alert that fires, as its Prometheus would name it: whoever tells of it, it is the same."""
    return Labelled(ALERTS, tuple(sorted({**dict(labels), "alertstate": "firing"}.items())))


def _alert(each: Any, now: datetime) -> Alert:
    if not isinstance(each, dict):
        raise PayloadError("an alert is a JSON object")
    try:
        told = _Told.model_validate(each)
    except ValidationError as error:
        raise PayloadError(reasons(error, "an alert", _Told.model_fields, secretive=True)) from error
    if not _EARLIEST <= told.startsAt <= now + AHEAD:
        raise PayloadError("startsAt is before the year 2000 or more than a day ahead")
    started = told.startsAt.astimezone(UTC)
    return Alert(_labels(told.labels), started, _ended(told, started, now))


def _ended(told: _Told, started: datetime, now: datetime) -> datetime | None:
    """When it ended, or will. Alertmanager writes the year 1 for "not known"; what has ended has done so by now."""
    ends = told.endsAt if told.endsAt is not None and told.endsAt > started else None
    if told.status == "resolved":
        return ends.astimezone(UTC) if ends is not None and ends <= now else now
    return min(ends, now + timedelta(days=366)).astimezone(UTC) if ends is not None else None


def _labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Sorted, without those that are empty. Raises PayloadError: too many, too long, or none."""
    kept = tuple(sorted((name, value) for name, value in labels.items() if value))
    if not kept:
        raise PayloadError("an alert without labels")
    if len(kept) > MAX_LABELS:
        raise PayloadError(f"an alert with more than {MAX_LABELS} labels")
    for text in (text for label in kept for text in label):
        if not text or len(text.encode()) > MAX_LABEL_BYTES or "\0" in text:
            raise PayloadError(f"a label that is empty, longer than {MAX_LABEL_BYTES} bytes, or holds a zero character")
    return kept
