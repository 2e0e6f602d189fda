"""A family whose step fails, for whatever reason of ours, keeps no other from its turn."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prefect.logging import disable_run_logger

from flows.training import attempted, refuse_unknown
from tasks.train import Stretch, train
from tests.unit.platform_parts import START
from tonewatch.errors import ModelError
from tonewatch.settings import load_profile
from warehouse.database import Warehouse


async def test_a_warehouse_that_is_away_fails_the_family_and_not_the_training() -> None:
    away = Warehouse("postgresql://nobody:none@127.0.0.1:1/none")
    stretch = Stretch("t", START, START + timedelta(minutes=5), load_profile("demo"))
    failed: dict[str, str] = {}

    async def other() -> str:
        return "learned"

    with disable_run_logger():
        assert await attempted("edge", train(away, stretch, "edge", ("edge:edge-1",), seed=0), failed) is None
        assert await attempted("origin", other(), failed) == "learned"
    await away.close()
    assert list(failed) == ["edge"]
    assert "PostgreSQL cannot be reached" in failed["edge"]


async def test_a_mistake_of_ours_is_no_failed_family() -> None:
    async def mistaken() -> None:
        raise ValueError("a mistake")

    failed: dict[str, str] = {}
    with disable_run_logger(), pytest.raises(ValueError, match="a mistake"):
        await attempted("edge", mistaken(), failed)
    assert failed == {}


def test_a_profile_that_names_a_family_or_kind_that_there_is_not_is_refused() -> None:
    refuse_unknown({"edge": "row-ensemble"})
    with pytest.raises(ModelError, match="name egde; families are source"):
        refuse_unknown({"egde": "row-ensemble"})
    with pytest.raises(ModelError, match="no kind of model 'forest'"):
        refuse_unknown({"edge": "forest"})
