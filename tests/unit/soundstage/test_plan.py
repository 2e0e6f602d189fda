from __future__ import annotations

import itertools
import json
import stat
from pathlib import Path

import pytest

from soundstage import janitor
from soundstage.director import audience
from soundstage.errors import NotRunning
from soundstage.plan import Plan, free_ports, inventory, make
from soundstage.supervision import configuration


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make(tmp_path, tmp_path / "media", channels=2, players=4, beacon_key_file=tmp_path / "key")


def test_plan_is_read_as_it_was_written_and_kept_from_others(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan.save(path)
    assert Plan.load(path) == plan
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_plan_that_is_missing_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="soundstage run"):
        Plan.load(tmp_path / "plan.json")


def test_ports_are_all_different(plan: Plan) -> None:
    ports = [port for part in plan.parts for port in (part.http_port, part.data_port) if port] + [plan.supervisor_port]
    assert len(ports) == len(set(ports))
    assert len(free_ports(5)) == 5


def test_inventory_is_the_documented_interface(plan: Plan) -> None:
    published = inventory(plan)
    assert json.loads(json.dumps(published)) == published
    ids = {component["id"] for component in published["components"]}
    assert {"component:source-ch1-primary", "component:ingest-ch2", "component:transcoder-ch1"} <= ids
    assert {"component:packager", "component:origin", "edge:edge-1", "edge:edge-2"} <= ids
    assert all(fed in ids for component in published["components"] for fed in component["feeds"])
    assert {component["stage"] for component in published["components"]} == {
        *("source", "ingest", "transcode", "package", "origin", "edge")
    }
    assert [channel["id"] for channel in published["channels"]] == ["channel:ch1", "channel:ch2"]


def test_inventory_holds_no_secret(plan: Plan) -> None:
    assert plan.password not in json.dumps(inventory(plan))


def test_documented_inventory_has_the_keys_that_are_published(plan: Plan) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "inventory.md").read_text()
    documented = json.loads(text.partition("```json")[2].partition("```")[0])
    published = inventory(plan)
    assert set(documented) == set(published)
    assert set(documented["components"][0]) == set(published["components"][3])
    assert set(documented["channels"][0]["renditions"][0]) == set(published["channels"][0]["renditions"][0])


def test_supervisor_restarts_nothing_by_itself_and_takes_any_path(tmp_path: Path) -> None:
    odd = tmp_path / "100% odd dir"
    text = configuration(make(odd, odd / "media"), odd / "plan.json")
    assert text.count("autorestart=false") == text.count("[program:") == 15
    assert "100%% odd dir" in text


def test_audience_is_a_smooth_day_between_half_and_all() -> None:
    day = [audience(20, 90.0, second) for second in range(91)]
    assert day[0] == day[90] == 10
    assert max(day) == day[45] == 20
    assert all(abs(after - before) <= 1 for before, after in itertools.pairwise(day))


def test_janitor_removes_only_media_of_ours(tmp_path: Path) -> None:
    ours, other = tmp_path / "soundstage-x", tmp_path / "precious"
    for folder in (ours, other):
        folder.mkdir()
        janitor.remove_media(folder)
    assert not ours.exists()
    assert other.exists()


def test_janitor_finds_no_process_of_a_folder_that_nobody_uses(tmp_path: Path) -> None:
    assert janitor.processes_of(tmp_path) == []
