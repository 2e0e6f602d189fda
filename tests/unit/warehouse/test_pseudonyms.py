from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warehouse.pseudonyms import pseudonym

KEY = b"0123456789abcdef"


def test_a_pseudonym_is_the_keyed_hash_of_tenant_and_value() -> None:
    expected = hmac.new(KEY, b"demo\0listener", hashlib.sha256).hexdigest()[:32]
    assert pseudonym(KEY, "demo", "listener") == expected


def test_a_listener_looks_different_to_each_tenant_and_under_each_key() -> None:
    made = {pseudonym(key, tenant, "listener") for key in (KEY, KEY[::-1]) for tenant in ("demo", "station")}
    assert len(made) == 4


def test_a_key_that_could_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="less than 16 bytes"):
        pseudonym(b"short", "demo", "listener")


@given(st.text(st.characters(codec=None)))
def test_a_pseudonym_is_32_hex_digits_of_any_value(value: str) -> None:
    made = pseudonym(KEY, "demo", value)
    assert len(made) == 32
    assert int(made, 16) >= 0
