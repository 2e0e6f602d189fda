"""Columns of numbers as PostgreSQL's own binary arrays: a tick's samples go in without becoming Python objects."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg.adapt import Dumper, PyFormat
from psycopg.pq import Format

#: Per element type: its own oid, that of its array, and how eight bytes of it go over the wire.
_TYPES = {"bigint": (20, 1016, ">i8"), "timestamptz": (1184, 1185, ">i8"), "double precision": (701, 1022, ">f8")}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Values of one type; a timestamptz is microseconds since 2000-01-01 UTC. None may be missing."""

    type: str
    values: npt.NDArray[Any]

    def packed(self) -> bytes:
        """The array in PostgreSQL's binary format: one dimension, no nulls, each element after its length."""
        oid, _, wire = _TYPES[self.type]
        elements = np.empty(len(self.values), dtype=[("length", ">i4"), ("value", wire)])
        elements["length"], elements["value"] = 8, self.values
        dimensions = 1 if len(self.values) else 0
        size = struct.pack(">ii", len(self.values), 1) if dimensions else b""
        return struct.pack(">iiI", dimensions, 0, oid) + size + elements.tobytes()


class ColumnDumper(Dumper):
    """Hands a Column to the driver: binary, with the oid of its own type."""

    format = Format.BINARY

    def dump(self, obj: Column) -> bytes:
        """The bytes that are sent."""
        return obj.packed()

    def get_key(self, obj: Column, format: PyFormat) -> Any:  # noqa: A002 - psycopg's name
        """A dumper for each type."""
        return (type(obj), obj.type)

    def upgrade(self, obj: Column, format: PyFormat) -> Dumper:  # noqa: A002 - psycopg's name
        """One that tells the oid of the column's type."""
        dumper = type(self)(type(obj))
        dumper.oid = _TYPES[obj.type][1]
        return dumper
