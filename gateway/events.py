"""Events of access, log-in and play as a platform tells them: JSON, one object, an array, or an object per line.

Pure: bytes in, typed events out. A reason never repeats a value, and not the name of an unknown key either: both may
tell who somebody is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from gateway.documents import Moment, Words, read_json, reasons
from tonewatch.errors import PayloadError, PayloadTooLarge
from tonewatch.records import ENTITY_ID, Event, EventKind

#: A day of playing without a pause, and ten more: whoever tells of longer means milliseconds.
LONGEST_S: Final = 11 * 86_400.0
MAX_BYTES: Final = 2**53
#: Makes a pseudonym of a value; the first argument says what it is: subject or address.
Hide = Callable[[str, str], str]


def _address(value: object) -> str:
    """An IP address as there is only one way to write it: an IPv4 one in IPv6 is the same client."""
    if not isinstance(value, str) or len(value) > 64:
        raise ValueError("must be an IP address as text")
    try:
        found = ip_address(value.partition("%")[0])
    except ValueError:
        raise ValueError("must be an IP address") from None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _channel(value: object) -> str:
    if not isinstance(value, str) or len(value) > 200 or not ENTITY_ID.fullmatch(value):
        raise ValueError("must be the id of a channel, e.g. channel:ch1")
    return value


def _no_query(value: object) -> object:
    # What stands behind the question mark is the listener's: tokens, ids, searches.
    return value.partition("?")[0].partition("#")[0] if isinstance(value, str) else value


Text = Annotated[Words, StringConstraints(min_length=1, max_length=256)]


class _Event(BaseModel):
    # A misspelt key would be lost without a word: what is not known is refused.
    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/+-]{0,127}$")]
    kind: str
    time: Moment
    subject: Text | None = None
    address: Annotated[str, BeforeValidator(_address)] | None = None


class _Access(_Event):
    path: Annotated[Words, BeforeValidator(_no_query), StringConstraints(min_length=1, max_length=1024)]
    status: Annotated[int, Field(ge=100, le=599)]
    bytes: Annotated[int, Field(ge=0, le=MAX_BYTES)] | None = None
    method: Annotated[str, StringConstraints(pattern=r"^[A-Z]{1,16}$")] | None = None
    agent: Annotated[Words, StringConstraints(max_length=512)] | None = None


class _Auth(_Event):
    outcome: Literal["success", "failure"]
    method: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")] | None = None


class _Play(_Event):
    track: Text | None = None
    channel: Annotated[str, BeforeValidator(_channel)] | None = None
    seconds: Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)]


MODELS: Final[dict[EventKind, type[_Event]]] = {
    EventKind.ACCESS: _Access,
    EventKind.AUTH: _Auth,
    EventKind.PLAY: _Play,
}


def read(
    body: bytes, span: tuple[datetime, datetime], most: int, hide: Hide, *, lines: bool
) -> tuple[list[Event], list[tuple[int, str]]]:
    """The good events of `body`, and what is wrong with the others: (number of the line or event from 1, reason).

    span: earliest and latest time; hide: makes a pseudonym, of what and which; lines: one object per line. Raises
    PayloadError: nothing in it, or no JSON as a whole; PayloadTooLarge: more than `most` events.
    """
    items = list(_lines(body) if lines else _items(body))
    if not items:
        raise PayloadError("the body holds no event")
    if len(items) > most:
        raise PayloadTooLarge(f"the body has more than {most} events")
    events: list[Event] = []
    faults: list[tuple[int, str]] = []
    for number, item in items:
        try:
            events.append(_event(read_json(item, "the line") if lines else item, span, hide))
        except PayloadError as error:
            faults.append((number, str(error)))
    return events, faults


def _lines(body: bytes) -> Iterator[tuple[int, Any]]:
    return ((number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip())


def _items(body: bytes) -> Iterator[tuple[int, Any]]:
    document = read_json(body)
    return enumerate(document if isinstance(document, list) else [document], start=1)


def _event(item: Any, span: tuple[datetime, datetime], hide: Hide) -> Event:
    if not isinstance(item, dict):
        raise PayloadError("an event is a JSON object")
    kind = next((kind for kind in EventKind if kind == item.get("kind")), None)
    if kind is None:
        raise PayloadError(f"kind must be {', '.join(EventKind)}")
    model = MODELS[kind]
    try:
        told = model.model_validate(item)
    except ValidationError as error:
        # Not "from error": that holds on to what was sent.
        raise PayloadError(reasons(error, f"an event of kind {kind}", model.model_fields, secretive=True)) from None
    if not span[0] <= told.time <= span[1]:
        raise PayloadError("time is more than 5 minutes ahead or 48 hours behind")
    values = told.model_dump(exclude_none=True) | {"kind": kind, "time": told.time.astimezone(UTC)}
    return Event(**values | {name: hide(name, values[name]) for name in ("subject", "address") if name in values})
