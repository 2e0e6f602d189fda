from __future__ import annotations

import struct

import numpy as np
import pytest

from warehouse.arrays import Column


def test_column_is_one_dimension_without_nulls_and_each_value_after_its_length() -> None:
    packed = Column("bigint", np.array([1, -2])).packed()
    assert packed == struct.pack(">iiIiiiqiq", 1, 0, 20, 2, 1, 8, 1, 8, -2)


def test_empty_column_has_no_dimension() -> None:
    assert Column("double precision", np.empty(0)).packed() == struct.pack(">iiI", 0, 0, 701)


@pytest.mark.parametrize(("type_", "oid"), [("bigint", 20), ("timestamptz", 1184), ("double precision", 701)])
def test_element_type_is_told(type_: str, oid: int) -> None:
    assert struct.unpack_from(">I", Column(type_, np.array([3])).packed(), 8) == (oid,)
