"""Each fault on a running soundstage: its sign is seen, healing takes it away, and what is none costs no sound."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from soundstage.faults.registry import ORDER
from tests.integration.test_soundstage import Running, begin, command, end, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
ANSWER_S = 1.0


def patiently(ask: Callable[[], Any], what: str) -> Any:
    """What was started just now may not listen yet."""

    def answer() -> Any:
        with contextlib.suppress(httpx.TransportError):
            return ask()

    return wait_for(answer, 15, what)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    started = begin(tmp_path_factory.mktemp("faults"))
    yield started
    end(started)


@dataclass
class Look:
    """A running soundstage as its operators see it, and their controls."""

    running: Running

    def component(self, process: str) -> dict[str, Any]:
        return next(part for part in self.running.inventory["components"] if part["process"] == process)

    def metric(self, process: str, name: str) -> float:
        url = self.component(process)["metrics_url"]
        return float(patiently(lambda: (self.running.metric(url, name),), url)[0])

    def upstream_s(self, edge: str) -> Callable[[], float]:
        """Asks for the mean time of the requests to the origin since it was last asked."""
        before = (0.0, 0.0)

        def mean() -> float:
            nonlocal before
            now = (self.metric(edge, "edge_upstream_seconds_sum"), self.metric(edge, "edge_upstream_seconds_count"))
            spent, count = now[0] - before[0], now[1] - before[1]
            before = now
            return spent / count if count else 0.0

        mean()
        return mean

    def frozen(self, process: str) -> bool:
        try:
            httpx.get(self.component(process)["metrics_url"], timeout=ANSWER_S)
        except httpx.TimeoutException:
            return True
        return False

    def away_s(self, process: str) -> float:
        """How long a process was away when it was restarted last, by its log."""
        lines = [json.loads(line) for line in Path(self.component(process)["log_path"]).read_text().splitlines()]
        stopped, started = (
            [datetime.fromisoformat(line["time"]) for line in lines if line["event"] == event]
            for event in ("stopped", "started")
        )
        return (started[-1] - stopped[-1]).total_seconds()

    def asked(self, edge: str) -> float:
        """How many requests of players an edge has answered."""
        return self.metric(edge, "http_requests_total")

    def listening(self) -> list[str]:
        return list(httpx.get(self.running.stage["inventory_url"].replace("/inventory", "/audience")).json()["drained"])

    def post(self, url: str, *, login: bool = True) -> httpx.Response:
        pair = httpx.URL(self.running.stage["supervisor_url"])
        return httpx.post(url, auth=(pair.username, pair.password) if login else None)

    def well(self) -> bool:
        url = self.running.stage["inventory_url"].replace("/inventory", "/health")
        players = self.running.players
        quiet = players("player_stalled") == 0 and players("player_silent") == 0
        return quiet and httpx.get(url, timeout=10).status_code == 200


@pytest.fixture
def look(running: Running) -> Look:
    looking = Look(running)
    wait_for(looking.well, 40, "all is well before")
    return looking


@dataclass
class Injected:
    """A fault that was injected; healed at the end."""

    running: Running
    truth: dict[str, Any]

    @property
    def process(self) -> str:
        return str(self.truth["entity"]).partition(":")[2]

    def outcome(self) -> dict[str, Any]:
        return dict(command("outcome", self.truth["id"], "--dir", str(self.running.folder)))

    def heal(self) -> None:
        command("heal", self.truth["id"], "--dir", str(self.running.folder))


@pytest.fixture
def inject(running: Running) -> Iterator[Callable[..., Injected]]:
    made: list[Injected] = []

    def let_happen(name: str, seed: int = 1) -> Injected:
        truth = command("inject", name, "--dir", str(running.folder), "--seed", str(seed))
        made.append(Injected(running, truth))
        return made[-1]

    yield let_happen
    for injected in made:
        injected.heal()


def test_faults_are_listed_in_the_order_in_which_all_can_be_played() -> None:
    assert [fault["name"] for fault in command("faults")] == list(ORDER)


def test_hanging_packager_lets_every_channel_run_dry_until_it_goes_on(
    look: Look, inject: Callable[..., Injected]
) -> None:
    fault = inject("packager-hang")
    assert fault.truth["cause"] == "component:packager:hang"
    assert look.frozen("packager")
    wait_for(lambda: look.running.players("player_stalled") > 0, 20, "players run dry")
    fault.heal()
    wait_for(look.well, 20, "well again")
    assert fault.outcome()["listener_minutes_lost"] > 0


def test_hanging_packager_is_mended_by_killing_it_and_healing_is_harmless_then(
    look: Look, inject: Callable[..., Injected]
) -> None:
    fault = inject("packager-hang")
    look.running.supervisor.signalProcess("packager", "KILL")
    wait_for(lambda: look.running.supervisor.getProcessInfo("packager")["statename"] == "EXITED", 5, "it ended")
    look.running.supervisor.startProcess("packager")
    pid = look.running.supervisor.getProcessInfo("packager")["pid"]
    fault.heal()
    assert look.running.supervisor.getProcessInfo("packager")["pid"] == pid
    wait_for(look.well, 20, "well again")


def test_crashed_origin_is_an_error_of_every_edge_until_it_is_started(
    look: Look, inject: Callable[..., Injected]
) -> None:
    before = look.metric("edge-1", "edge_upstream_errors_total")
    fault = inject("origin-crash")
    wait_for(lambda: look.metric("edge-1", "edge_upstream_errors_total") > before, 10, "the edge has no origin")
    assert look.running.supervisor.getProcessInfo("origin")["statename"] == "EXITED"
    fault.heal()
    wait_for(look.well, 20, "well again")


def test_hanging_edge_loses_its_players_to_the_other(look: Look, inject: Callable[..., Injected]) -> None:
    fault = inject("edge-hang")
    other = "edge-1" if fault.process == "edge-2" else "edge-2"
    assert look.frozen(fault.process)
    before = look.asked(other)
    wait_for(lambda: look.asked(other) > before + 8, 20, "its players go to the other")
    assert look.post(f"{look.running.inventory['routing']['url']}/drain/{fault.process}").status_code == 200
    fault.heal()
    assert look.listening() == []
    assert not look.frozen(fault.process)
    wait_for(look.well, 20, "well again")


def test_silent_source_costs_sound_that_no_process_misses_until_the_input_is_switched(
    look: Look, inject: Callable[..., Injected]
) -> None:
    fault = inject("source-silent")
    assert fault.truth["cause"] == "component:source-ch1-primary:source-silent"
    wait_for(lambda: look.metric(fault.process, "source_level_dbfs") == -120, 5, "the line is silent")
    wait_for(lambda: look.running.players("player_silent") > 0, 25, "players play silence")
    assert look.running.players("player_stalled") == 0
    missing = fault.outcome()
    assert missing["impact_ended_s"] is None
    assert 1 < missing["impact_started_s"] < 15

    look.running.supervisor.stopProcess(fault.process)
    look.running.supervisor.startProcess(fault.process)
    wait_for(lambda: look.metric(fault.process, "source_samples_total") > 48_000, 10, "it runs again")
    assert look.metric(fault.process, "source_level_dbfs") == -120, "a restart does not mend a studio line"

    inputs = look.component("ingest-ch1")["inputs"]
    assert look.post(f"{inputs['url']}/backup").text == "backup"
    wait_for(lambda: look.running.players("player_silent") == 0, 20, "the backup is heard")
    ended = fault.outcome()
    assert ended["impact_ended_s"] is not None
    assert ended["listener_minutes_lost"] > 0
    kinds = {json.loads(line)["kind"] for line in (look.running.folder / "players.jsonl").read_text().splitlines()}
    assert "silence" in kinds
    fault.heal()
    assert httpx.get(inputs["url"]).text == "primary"
    wait_for(lambda: look.metric(fault.process, "source_level_dbfs") > -100, 5, "the line carries sound")


def test_bad_release_starves_players_until_the_version_before_it_runs_again(
    look: Look, inject: Callable[..., Injected]
) -> None:
    versions = look.component("packager")["versions"]["url"]
    fault = inject("bad-release")
    told = httpx.get(versions).json()
    assert told["previous"] == "1"
    assert told["running"] != "1"
    assert look.metric("packager", "configuration_version") == int(told["running"])
    (change,) = [
        json.loads(line)
        for line in (look.running.folder / "changes.jsonl").read_text().splitlines()
        if json.loads(line)["kind"] == "release"
    ]
    assert change["entity"] == "component:packager"
    wait_for(lambda: len(look.running.playlist("aac-64")[1].entries) == 1, 10, "the next segment's playlist is short")
    wait_for(lambda: look.running.players("player_stalled") > 0, 25, "players starve")

    look.running.supervisor.stopProcess("packager")
    look.running.supervisor.startProcess("packager")
    running = patiently(lambda: httpx.get(versions).json(), "the packager answers")["running"]
    assert running == told["running"], "a restart brings no old version back"
    assert look.post(f"{versions}/1", login=False).status_code == 401
    assert look.post(f"{versions}/1").json()["running"] == "1"
    wait_for(look.well, 25, "well again")
    wait_for(lambda: len(look.running.playlist("aac-64")[1].entries) == 8, 30, "the window is as long as before")
    fault.heal()
    assert httpx.get(versions).json()["running"] == "1"


def test_slow_link_is_seen_by_its_edge_alone_and_draining_the_edge_mends_it(
    look: Look, inject: Callable[..., Injected]
) -> None:
    slow, other = look.upstream_s("edge-1"), look.upstream_s("edge-2")
    fault = inject("edge-latency")
    assert fault.truth["cause"] == f"{fault.process.replace('edge-', 'edge:edge-')}:latency"
    slow, other = (slow, other) if fault.process == "edge-1" else (other, slow)
    wait_for(lambda: slow() > 1.2, 20, "the origin is slow for one edge")
    assert other() < 0.8
    assert look.metric("origin", "http_request_seconds_sum") < 0.5 * look.metric("origin", "http_request_seconds_count")

    routing = look.running.inventory["routing"]["url"]
    assert look.post(f"{routing}/drain/{fault.process}", login=False).status_code == 401
    assert look.post(f"{routing}/drain/{fault.process}").json() == {"drained": [fault.truth["entity"]]}
    others = {edge["id"] for edge in look.running.inventory["edges"]} - {fault.truth["entity"]}
    (left,) = others
    assert look.post(f"{routing}/drain/{left.partition(':')[2]}").status_code == 409
    assert look.post(f"{routing}/drain/edge-9").status_code == 404

    def abandoned() -> bool:
        before = look.asked(fault.process)
        time.sleep(3.0)  # nothing can be awaited where nothing is to happen
        # The director's health check looks at the first edge; it is no player.
        return look.asked(fault.process) - before == 0

    wait_for(abandoned, 20, "nobody asks the drained edge")
    wait_for(lambda: look.running.players("player_stalled") == 0, 20, "its players hear the other")
    fault.heal()
    assert httpx.get(routing).json() == {"drained": []}
    before = look.asked(fault.process)
    wait_for(lambda: look.asked(fault.process) > before, 10, "players come back")
    wait_for(look.well, 20, "well again")


@pytest.mark.parametrize("seed", [1, 5])
def test_announced_restart_costs_no_sound(look: Look, inject: Callable[..., Injected], seed: int) -> None:
    wait_for(lambda: look.running.players("player_buffer_seconds") > 4, 20, "players have something buffered")
    none = inject("maintenance-restart", seed)
    assert none.truth["cause"] is None
    assert none.truth["is_fault"] is False
    assert none.truth["lasts_s"] == 30
    changes = [json.loads(line) for line in (look.running.folder / "changes.jsonl").read_text().splitlines()]
    assert changes[-1]["kind"] == "maintenance"
    assert changes[-1]["entity"] == none.truth["entity"]
    assert changes[-1]["ended"] > changes[-1]["started"]
    wait_for(look.well, 20, "well again")
    assert none.process in ("packager", "edge-1", "edge-2")
    if none.process == "packager" and (away := look.away_s("packager")) > 3.5:
        pytest.skip(f"the machine was starved: the restart took {away:.1f} s, longer than players have sound")
    assert none.outcome() == {"impact_started_s": None, "impact_ended_s": 0.0, "listener_minutes_lost": 0.0}


def test_prime_time_is_heard_by_more_than_on_any_day_and_costs_no_sound(
    look: Look, inject: Callable[..., Injected]
) -> None:
    none = inject("prime-time-ramp")
    wait_for(lambda: look.running.players("player_sessions") == 6, 15, "half as many again as there are")
    wait_for(look.well, 10, "all of them hear")
    none.heal()
    wait_for(lambda: look.running.players("player_sessions") <= 4, 15, "the day's audience again")
    assert none.outcome()["listener_minutes_lost"] == 0.0


def test_quiet_passage_is_played_by_both_sources_and_costs_no_sound(
    look: Look, inject: Callable[..., Injected]
) -> None:
    none = inject("quiet-passage")

    def level(name: str) -> float:
        return look.metric(f"source-ch1-{name}", "source_level_dbfs")

    wait_for(lambda: all(-50 <= level(name) <= -44 for name in ("primary", "backup")), 10, "both are quiet")
    wait_for(lambda: look.running.newest_sound("aac-128").std() < 0.02, 15, "it is on air")
    # Until players have played some of it: they are a few segments behind.
    wait_for(lambda: level("primary") > -40, none.truth["lasts_s"] + 10, "it is over")
    wait_for(look.well, 20, "all is well")
    assert none.outcome()["listener_minutes_lost"] == 0.0


def test_frozen_control_is_told_as_such(look: Look, inject: Callable[..., Injected]) -> None:
    """A fault whose component does not answer is not called injected."""
    look.running.supervisor.signalProcess("packager", "STOP")
    try:
        words = ["inject", "bad-release", "--dir", str(look.running.folder)]
        with pytest.raises(AssertionError, match=r"soundstage: GET .*/version"):
            command(*words)
    finally:
        look.running.supervisor.signalProcess("packager", signal.SIGCONT.name.removeprefix("SIG"))
    assert httpx.get(look.component("packager")["versions"]["url"]).json()["running"] == "1"
