"""JSON as it comes in at the door: read within limits, and its faults told without repeating what was sent."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic_core import from_json

from tonewatch.errors import PayloadError

#: More faults of one thing than this help nobody.
_TOLD: Final = 3


def read_json(body: bytes, what: str = "the body") -> Any:
    """The document in `body`, which is called `what`: UTF-8, nested at most 200 deep.

    Raises PayloadError. Numbers too large for a float become infinite: whoever takes numbers looks for that.
    """
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise PayloadError(f"{what} is no JSON: {error}") from error


def moment(value: object) -> datetime:
    """A time as ISO 8601 with its zone; a number could be seconds or milliseconds. Raises ValueError."""
    if not isinstance(value, str) or len(value) > 40:
        raise ValueError("must be a time as text, e.g. 2026-01-31T12:00:00+00:00")
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError("must be a time in ISO 8601, e.g. 2026-01-31T12:00:00+00:00") from error
    if found.tzinfo is None:
        raise ValueError("must say its time zone, e.g. end with +00:00")
    return found


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("must hold no zero character")
    return value


#: A field of a model that is a time.
Moment = Annotated[datetime, BeforeValidator(moment)]
#: A field of a model that PostgreSQL can hold as text.
Words = Annotated[str, AfterValidator(_storable)]


def reasons(error: ValidationError, thing: str, known: Collection[str], *, secretive: bool = False) -> str:
    """What is wrong, without the values that were sent: they may be anybody's secret.

    thing: what it should have been, with its article; known: the keys that it may have; secretive: unknown keys are
    not named either, where a sender's mistake may make a person's name of one.
    """
    told = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False)[:_TOLD]:
        name = ".".join(str(part) for part in fault["loc"])[:100]
        if fault["type"] == "extra_forbidden":
            what = "a key" if secretive else repr(name)
            told.append(f"{what} is no key of {thing}; known are {', '.join(known)}")
        elif fault["type"] == "missing":
            told.append(f"{name} is missing")
        else:
            told.append(f"{name}: {fault['msg'].removeprefix('Value error, ')}")
    return "; ".join(told)
