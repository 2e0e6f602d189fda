from __future__ import annotations

from pathlib import Path

import pytest

from soundstage.director import Routing
from soundstage.errors import Refused

EDGES = ("edge-1", "edge-2")


def test_drained_edge_is_told_by_its_id_and_stays_so_over_a_restart(tmp_path: Path) -> None:
    Routing(tmp_path / "routing.json", EDGES).drain("edge-1")
    again = Routing(tmp_path / "routing.json", EDGES)
    assert again.told() == {"drained": ["edge:edge-1"]}
    again.admit("edge-1")
    again.admit("edge-1")
    assert Routing(tmp_path / "routing.json", EDGES).told() == {"drained": []}


def test_last_edge_is_not_drained(tmp_path: Path) -> None:
    routing = Routing(tmp_path / "routing.json", EDGES)
    routing.drain("edge-1")
    routing.drain("edge-1")
    with pytest.raises(Refused, match="last edge") as raised:
        routing.drain("edge-2")
    assert raised.value.status == 409
    assert routing.drained == {"edge-1"}


@pytest.mark.parametrize("deed", ["drain", "admit"])
def test_edge_that_is_not_there_is_refused(tmp_path: Path, deed: str) -> None:
    with pytest.raises(Refused, match="no edge edge-9") as raised:
        getattr(Routing(tmp_path / "routing.json", EDGES), deed)("edge-9")
    assert raised.value.status == 404
