"""The gateway against a thousand requests that nobody thought of; a hundred thousand are `make bench NAME=fuzz`."""

from __future__ import annotations

import pytest

from tests.benchmarks import fuzz

pytestmark = pytest.mark.integration


async def test_no_request_makes_the_gateway_fail_or_grow() -> None:
    lines: list[str] = []
    tally = await fuzz.bench(1000, 7, lines.append)
    assert tally.errors == []
    assert tally.requests >= 1000
    assert {status // 100 for status in tally.statuses} >= {2, 4}, "some were good and some were not"
    assert fuzz.growth_mib(tally) <= fuzz.GROWTH_MIB, lines
