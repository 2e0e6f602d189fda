from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.platform_parts import two_channels
from tonewatch.records import Entity
from tonewatch.topology import Topology

TOPOLOGY = two_channels()


def test_path_of_a_transcoder_ends_at_its_own_channel() -> None:
    path = TOPOLOGY.path("component:transcoder-ch1", "channel:ch1")
    assert path[:3] == ("component:transcoder-ch1", "component:packager", "component:origin")
    assert path[-1] == "channel:ch1"


def test_transcoder_does_not_reach_the_other_channel_through_shared_parts() -> None:
    assert not TOPOLOGY.reaches("component:transcoder-ch1", "channel:ch2")
    assert not TOPOLOGY.related("component:transcoder-ch1", "component:transcoder-ch2")


def test_shared_part_is_felt_by_every_channel() -> None:
    assert TOPOLOGY.felt_by("component:packager") == ["channel:ch1", "channel:ch2"]
    assert TOPOLOGY.felt_by("component:transcoder-ch2") == ["channel:ch2"]


def test_only_way_to_a_channel_is_a_cut_and_one_of_two_edges_is_none() -> None:
    assert TOPOLOGY.cuts("component:transcoder-ch1", "channel:ch1")
    assert TOPOLOGY.cuts("component:origin", "channel:ch1")
    assert not TOPOLOGY.cuts("edge:edge-1", "channel:ch1")
    assert not TOPOLOGY.cuts("component:transcoder-ch2", "channel:ch1")


def test_unknown_entity_reaches_itself_alone() -> None:
    assert TOPOLOGY.path("component:ghost", "component:ghost") == ("component:ghost",)
    assert not TOPOLOGY.reaches("component:ghost", "channel:ch1")


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=30))
def test_path_agrees_with_a_naive_closure_on_any_graph_circles_included(links: list[tuple[int, int]]) -> None:
    entities = [
        Entity(f"component:{n}", "package", feeds=tuple(f"component:{b}" for a, b in links if a == n)) for n in range(8)
    ]
    topology = Topology(entities)
    reached = {(n, n) for n in range(8)} | set(links)
    for _ in range(8):
        reached |= {(a, d) for a, b in reached for c, d in links if b == c}
    for a in range(8):
        for b in range(8):
            path = topology.path(f"component:{a}", f"component:{b}")
            assert bool(path) == ((a, b) in reached)
            steps = [(int(x[10:]), int(y[10:])) for x, y in pairwise(path)]
            assert all(step in links for step in steps)
