from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

from soundstage import web
from soundstage.configuration import GOOD, Configuration
from soundstage.errors import Malformed, Refused
from soundstage.origin import Origin
from soundstage.packager import Shelf
from soundstage.plan import Plan, make
from tests.unit.soundstage.test_playlist import AAC, fill


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make(tmp_path, tmp_path / "media", channels=1, players=2)


def book(tmp_path: Path, stage: str = "package") -> Configuration:
    return Configuration(tmp_path / "state" / "packager.json", stage)


def test_first_version_is_the_good_one_and_has_none_before_it(tmp_path: Path) -> None:
    configuration = book(tmp_path)
    assert configuration.values == GOOD["package"]
    assert configuration.told() == {"running": "1", "previous": None, "known": ["1"]}


def test_release_runs_over_a_restart_and_names_what_it_took_the_place_of(tmp_path: Path) -> None:
    configuration = book(tmp_path)
    assert configuration.make({"window": 1}) == "2"
    assert configuration.running == "1"
    configuration.run("2")
    again = book(tmp_path)
    assert again.told() == {"running": "2", "previous": "1", "known": ["1", "2"]}
    assert again.values == {**GOOD["package"], "window": 1}


def test_going_back_twice_does_not_bring_back_what_was_taken_away(tmp_path: Path) -> None:
    configuration = book(tmp_path)
    configuration.make({"window": 1})
    configuration.run("2")
    configuration.run("1")
    assert configuration.values == GOOD["package"]
    assert configuration.told()["previous"] is None
    configuration.make({"window": 2})
    configuration.run("3")
    assert configuration.told()["previous"] == "1"


@pytest.mark.parametrize(
    "values", [{"windows": 1}, {"window": "1"}, {"window": True}, {"window": -1}, {"log_level": "loud"}, [1], None]
)
def test_values_that_cannot_be_are_refused(tmp_path: Path, values: object) -> None:
    with pytest.raises(Malformed):
        book(tmp_path).make(values)


def test_version_that_nobody_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="known are: 1") as raised:
        book(tmp_path).run("2")
    assert raised.value.status == 404


def ask(process: Origin, method: str, path: str, body: object = None, *, login: bool = True) -> web.Response:
    pair = base64.b64encode(f"{process.plan.user}:{process.plan.password}".encode()).decode()
    headers = {"authorization": f"Basic {pair}"} if login else {}
    return asyncio.run(process._answer(web.Request(method, path, headers, json.dumps(body).encode())))


def test_versions_are_read_by_all_and_set_with_the_password_alone(plan: Plan) -> None:
    process = Origin(plan, plan.part("origin"))
    assert ask(process, "PUT", "/version", {"playlist_max_age": 5}, login=False).status == 401
    assert ask(process, "POST", "/version/1", login=False).status == 401
    assert json.loads(ask(process, "PUT", "/version", {"playlist_max_age": 5}).body)["made"] == "2"
    assert ask(process, "PUT", "/version", {"nonsense": 5}).status == 400
    assert ask(process, "POST", "/version/9").status == 404
    assert json.loads(ask(process, "POST", "/version/2").body) == json.loads(
        ask(process, "GET", "/version", login=False).body
    )
    assert process.setting("playlist_max_age") == 5
    assert b"configuration_version 2.0" in ask(process, "GET", "/metrics").body


def test_log_level_of_a_version_is_taken_up(plan: Plan) -> None:
    process = Origin(plan, plan.part("origin"))
    ask(process, "PUT", "/version", {"log_level": "error"})
    ask(process, "POST", "/version/2")
    process.log.warning("not_found")
    process.log.alarm("read_failed")
    events = [json.loads(line)["event"] for line in plan.log_path("origin").read_text().splitlines()]
    assert events == ["configuration_switched", "read_failed"]


def test_shorter_window_is_written_at_once_and_grows_again(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, AAC)
    end = fill(shelf, 8)
    shelf.fit(1, 4)
    text = (tmp_path / "index.m3u8").read_text()
    assert text.count("#EXTINF") == 1
    assert "#EXT-X-TARGETDURATION:4\n" in text
    newest = shelf.playlist.entries[-1].uri
    shelf.fit(8, 2)
    fill(shelf, 3, end)
    assert shelf.playlist.entries[0].uri == newest
    assert len(shelf.playlist.entries) == 4
