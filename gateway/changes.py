"""Changes as they are announced at the door: JSON, one object or a list of them.

A body is taken whole or not at all: half a roll-out would be read as another one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError
from pydantic_core import from_json

from tonewatch.errors import PayloadError
from tonewatch.records import ENTITY_ID, Change

#: Nothing is announced so long before, or told so long after: such a time is a slip of the pen.
REACH: Final = timedelta(days=366)
_LONGEST_ENTITY: Final = 200


def _moment(value: object) -> datetime:
    """A time as ISO 8601 with its zone; a number could be seconds or milliseconds."""
    if not isinstance(value, str) or len(value) > 40:
        raise ValueError("must be a time as text, e.g. 2026-01-31T12:00:00+00:00")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError("must be a time in ISO 8601, e.g. 2026-01-31T12:00:00+00:00") from error
    if moment.tzinfo is None:
        raise ValueError("must say its time zone, e.g. end with +00:00")
    return moment


def _moment_or_none(value: object) -> datetime | None:
    return None if value is None else _moment(value)


def _entity(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_ENTITY or not ENTITY_ID.fullmatch(value):
        raise ValueError("must be the id of a part, e.g. component:packager")
    return value


class _Change(BaseModel):
    # A misspelt `ended` would make a window without an end: what is not known is refused.
    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,199}$")]
    kind: Literal["release", "configuration", "maintenance", "flag"]
    entity: Annotated[str, BeforeValidator(_entity)]
    started: Annotated[datetime, BeforeValidator(_moment)]
    ended: Annotated[datetime | None, BeforeValidator(_moment_or_none)] = None
    author: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    summary: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


def read(body: bytes, now: datetime, most: int) -> tuple[list[Change], list[tuple[int, str]]]:
    """The changes in `body`, and what is wrong with it: (number of the change from 1, reason).

    Raises PayloadError: no JSON, nested too deeply, nothing in it, or more than `most` changes.
    """
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise PayloadError(f"the body is no JSON: {error}") from error
    items: list[Any] = document if isinstance(document, list) else [document]
    if not items:
        raise PayloadError("the body holds no change")
    if len(items) > most:
        raise PayloadError(f"the body has more than {most} changes")
    changes: list[Change] = []
    faults: list[tuple[int, str]] = []
    for number, item in enumerate(items, start=1):
        try:
            changes.append(_change(item, now))
        except PayloadError as error:
            faults.append((number, str(error)))
    return changes, faults


def _change(item: object, now: datetime) -> Change:
    if not isinstance(item, dict):
        raise PayloadError("a change is a JSON object")
    try:
        told = _Change.model_validate(item)
    except ValidationError as error:
        raise PayloadError("; ".join(_reasons(error))) from error
    for name, moment in (("started", told.started), ("ended", told.ended)):
        if moment is not None and not now - REACH <= moment <= now + REACH:
            raise PayloadError(f"{name} is more than a year away")
    if told.ended is not None and told.ended < told.started:
        raise PayloadError("ended is before started")
    return Change(**told.model_dump())


def _reasons(error: ValidationError) -> list[str]:
    """What is wrong, without what was sent: it may be anybody's secret."""
    reasons = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False)[:3]:
        name = ".".join(str(part) for part in fault["loc"])[:100]
        if fault["type"] == "extra_forbidden":
            reasons.append(f"{name!r} is no key of a change; known are {', '.join(_Change.model_fields)}")
        elif fault["type"] == "missing":
            reasons.append(f"{name} is missing")
        else:
            reasons.append(f"{name}: {fault['msg'].removeprefix('Value error, ')}")
    return reasons
