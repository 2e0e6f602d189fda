"""Changes as they are announced at the door: JSON, one object or a list of them.

A body is taken whole or not at all: half a roll-out would be read as another one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from gateway.documents import Moment, read_json, reasons
from tonewatch.errors import PayloadError
from tonewatch.records import ENTITY_ID, Change

#: Nothing is announced so long before, or told so long after: such a time is a slip of the pen.
REACH: Final = timedelta(days=366)
_LONGEST_ENTITY: Final = 200


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
    started: Moment
    ended: Moment | None = None
    author: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    summary: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


def read(body: bytes, now: datetime, most: int) -> tuple[list[Change], list[tuple[int, str]]]:
    """The changes in `body`, and what is wrong with it: (number of the change from 1, reason).

    Raises PayloadError: no JSON, nested too deeply, nothing in it, or more than `most` changes.
    """
    document = read_json(body)
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
        raise PayloadError(reasons(error, "a change", _Change.model_fields)) from error
    for name, moment in (("started", told.started), ("ended", told.ended)):
        if moment is not None and not now - REACH <= moment <= now + REACH:
            raise PayloadError(f"{name} is more than a year away")
    if told.ended is not None and told.ended < told.started:
        raise PayloadError("ended is before started")
    return Change(**told.model_dump())
