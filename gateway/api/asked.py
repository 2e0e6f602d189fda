"""Parameters of what is asked for: read from the address, and told in /openapi.json, from one list."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from fastapi import Request

from gateway.api.answers import refused
from gateway.api.description import KEYED
from tonewatch.records import ENTITY_ID
from warehouse.pages import Page, Place

Row = TypeVar("Row")

MOST: Final = 200
_USUAL: Final = 50
_YEARS: Final = (2000, 2100)
_LONGEST: Final = 300
#: Of a whole number that PostgreSQL's bigint surely holds.
_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `read` gives its value, or raises ValueError that says what it must be."""

    name: str
    description: str
    read: Callable[[str], Any]
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    default: Any = None

    def described(self, where: str = "query") -> dict[str, Any]:
        """As OpenAPI has it."""
        return {
            "name": self.name,
            "in": where,
            "required": where == "path",
            "description": self.description,
            "schema": dict(self.schema),
        }


def parameters(*asked: Parameter, path: str = "") -> dict[str, Any]:
    """`openapi_extra` of a route for holders of a key that takes these parameters; `path`: what its address holds."""
    told = [each.described() for each in asked]
    if path:
        told.insert(0, Parameter(path, "As the list and every notice show it", str).described("path"))
    return {"parameters": told, **KEYED}


def read(request: Request, asked: Sequence[Parameter]) -> dict[str, Any]:
    """The values by name, the default of what is not given. Raises HTTPException 400: unknown, twice, or malformed."""
    known = {each.name: each for each in asked}
    values = {each.name: each.default for each in asked}
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in known:
            takes = f"known are {', '.join(known)}" if known else "there are none here"
            raise refused(400, f"unknown parameter {name[:40]!r}; {takes}")
        if name in seen:
            raise refused(400, f"{name} is given twice")
        seen.add(name)
        try:
            values[name] = known[name].read(value)
        except ValueError as error:
            raise refused(400, f"{name}: {error}") from error
    return values


def page_of(values: Mapping[str, Any]) -> Page:
    """The page that `values` of PAGED ask for. Raises HTTPException 400: it ends before it begins."""
    since, until = values["since"], values["until"]
    if since and until and until <= since:
        raise refused(400, "until: must be later than since")
    return Page(values["limit"], since, until, values["cursor"])


def and_one(page: Page) -> Page:
    """The page and the row after it, which says whether there is a next one."""
    return replace(page, limit=page.limit + 1)


def paged(rows: Sequence[Row], page: Page, place: Callable[[Row], Place]) -> tuple[Sequence[Row], str | None]:
    """Of the rows of `and_one(page)` those of the page, and the cursor of the next one; None: there is none."""
    shown = rows[: page.limit]
    return shown, _cursor(place(shown[-1])) if len(rows) > page.limit else None


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """Reads one of these words."""
    known = tuple(names)

    def word(value: str) -> str:
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    return word


def time(value: str) -> datetime:
    """Reads ISO 8601 with a zone. Raises ValueError."""
    try:
        found = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError("must be ISO 8601 with a zone, 2026-01-31T12:00:00Z (a + is written %2B)") from None
    if found.tzinfo is None:
        raise ValueError("the zone is missing: 2026-01-31T12:00:00Z")
    if not _YEARS[0] <= found.year < _YEARS[1]:
        raise ValueError(f"must be a time from {_YEARS[0]} to {_YEARS[1]}")
    return found.astimezone(UTC)


def entity(value: str) -> str:
    """Reads an entity's id. Raises ValueError."""
    if len(value) > _LONGEST or not ENTITY_ID.fullmatch(value):
        raise ValueError("must be an entity's id, kind:name, e.g. component:packager")
    return value


def words(value: str) -> str:
    """Reads any text that can stand in the warehouse. Raises ValueError."""
    if not value or len(value) > _LONGEST or not value.isprintable():
        raise ValueError(f"must be 1 to {_LONGEST} characters on one line")
    return value


def _limit(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[:6]) <= MOST:
        raise ValueError(f"must be a whole number from 1 to {MOST}")
    return int(value)


def _cursor(place: Place) -> str:
    written = json.dumps([place[0].isoformat(), place[1]], separators=(",", ":"))
    return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


def _place(value: str) -> Place:
    try:
        told = json.loads(base64.urlsafe_b64decode(value.encode("ascii") + b"=" * (-len(value) % 4)))
        at, id_ = told
        return time(at), words(id_)
    except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
        raise ValueError("is none of ours: take `next` of the page before, or begin without one") from None


def _numbered(value: str) -> Place:
    """For a list whose ids are whole numbers."""
    place = _place(value)
    if not place[1].isascii() or not place[1].isdigit() or len(place[1]) > _DIGITS:
        raise ValueError("is of another list: begin without one")
    return place


_TIME: Final = {"type": "string", "format": "date-time"}
SINCE: Final = Parameter("since", "From this time on, ISO 8601 with a zone", time, _TIME)
UNTIL: Final = Parameter("until", "Before this time", time, _TIME)
ENTITY: Final = Parameter("entity", "Of this entity alone, `kind:name`", entity, default="")
LIMIT: Final = Parameter(
    "limit", "At most so many", _limit, {"type": "integer", "minimum": 1, "maximum": MOST, "default": _USUAL}, _USUAL
)
CURSOR: Final = Parameter("cursor", "`next` of the page before", _place)
PAGED: Final = (SINCE, UNTIL, LIMIT, CURSOR)
NUMBERED: Final = (SINCE, UNTIL, LIMIT, replace(CURSOR, read=_numbered))
