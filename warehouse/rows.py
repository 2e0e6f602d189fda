"""Records to rows: several records travel as one JSON text, so that a batch is one statement and one round trip."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from tonewatch.errors import WarehouseError

Row = dict[str, Any]


def utc(time: datetime) -> datetime:
    """`time` itself. Raises WarehouseError: it has no time zone, so nobody can say which moment it is."""
    if time.tzinfo is None:
        raise WarehouseError(f"the time {time.isoformat()} has no time zone: give datetimes in UTC (tonewatch.clock)")
    return time


def row(record: Any, **further: Any) -> Row:
    """The fields of a record of tonewatch.records by their names, and `further` columns."""
    return {field.name: getattr(record, field.name) for field in fields(record)} | further


def same_tenant(tenant: str, records: Iterable[Any]) -> None:
    """Raise WarehouseError when a record belongs to another tenant than the one who writes it."""
    for record in records:
        if record.tenant != tenant:
            raise WarehouseError(
                f"a {type(record).__name__} of tenant {record.tenant!r} can not be kept for {tenant!r}"
            )


def packed(rows: Iterable[Row]) -> str:
    """The rows as one JSON array for jsonb_to_recordset. Raises WarehouseError: a time without a zone."""
    return document(list(rows))


def document(value: Any) -> str:
    """`value` as JSON that PostgreSQL takes, whatever came in from outside.

    Zero characters and lone surrogates are replaced (PostgreSQL refuses them; one odd log line must not stop a loop);
    numbers that are not finite become their names, which PostgreSQL and float() read back.
    """
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return utc(value).isoformat()
    if isinstance(value, Mapping):
        return {clean(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else _described(value)


def _described(value: Any) -> Any:
    if hasattr(type(value), "__dataclass_fields__"):
        return _plain(row(value))
    return clean(str(value))


def clean(value: str) -> str:
    """`value` without what PostgreSQL's text can not hold."""
    if value.isascii():
        return value.replace("\0", "\ufffd") if "\0" in value else str(value)
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
