"""The platform as a whole: sound is heard, faults are real and cost what they cost, and nothing is left behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from soundstage import janitor
from soundstage.playlist import parse

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "docs" / "examples" / "faults"


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Another process's state can only be asked for, so this asks; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def command(*words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "soundstage", *words],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass
class Running:
    """A soundstage in the foreground of a process of its own."""

    folder: Path
    process: subprocess.Popen[bytes]
    stage: dict[str, Any]
    inventory: dict[str, Any]

    @property
    def supervisor(self) -> Any:
        return xmlrpc.client.ServerProxy(self.stage["supervisor_url"]).supervisor

    def playlist(self, rendition: str) -> tuple[str, Any]:
        base = f"{self.inventory['edges'][0]['base_url']}/ch1/{rendition}"
        return base, parse(httpx.get(f"{base}/index.m3u8").raise_for_status().text)

    def newest_sound(self, rendition: str) -> np.ndarray:
        base, playlist = self.playlist(rendition)
        init = httpx.get(f"{base}/{playlist.map_uri}").content if playlist.map_uri else b""
        segment = httpx.get(f"{base}/{playlist.entries[-1].uri}").raise_for_status().content
        with av.open(io.BytesIO(init + segment)) as container:
            return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)

    def metric(self, url: str, name: str) -> float:
        lines = httpx.get(url).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition(" ")[0].partition("{")[0] == name)

    def players(self, name: str) -> float:
        return self.metric(self.stage["players_metrics_url"], name)


def begin(folder: Path) -> Running:
    words = ["run", "--dir", str(folder), "--channels", "1", "--players", "4", "--day", "20"]
    process = subprocess.Popen([sys.executable, "-m", "soundstage", *words], cwd=PROJECT)
    path = folder / "stage.json"
    wait_for(lambda: path.exists() or process.poll() is not None, 90, "the soundstage is on air")
    assert process.poll() is None, "run ended"
    stage = json.loads(path.read_text())
    return Running(folder, process, stage, httpx.get(stage["inventory_url"]).json())


def end(running: Running) -> None:
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(30)
    wait_for(lambda: not janitor.processes_of(running.folder), 20, "no process is left")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    started = begin(tmp_path_factory.mktemp("soundstage"))
    yield started
    end(started)


def test_sound_is_on_air_in_every_rendition(running: Running) -> None:
    for rendition in ("aac-64", "aac-128", "opus-96"):
        sound = running.newest_sound(rendition)
        assert sound.shape[1] / 48_000 == pytest.approx(2.0, abs=0.05)
        assert 20 * np.log10(np.sqrt(np.mean(sound**2))) > -30
        _, playlist = running.playlist(rendition)
        age = time.time() - playlist.entries[-1].end_us / 1e6
        assert -0.1 < age < 6


def test_stage_and_plan_are_kept_from_others(running: Running) -> None:
    for name in ("stage.json", "plan.json", "supervisord.conf"):
        assert (running.folder / name).stat().st_mode & 0o077 == 0


def test_every_component_has_metrics_and_a_log(running: Running) -> None:
    for component in running.inventory["components"]:
        for name in ("event_loop_lag_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes"):
            assert running.metric(component["metrics_url"], name) >= 0
        first = json.loads(Path(component["log_path"]).read_text().splitlines()[0])
        assert {"time", "level", "component", "event"} <= set(first)
        assert first["component"] == component["id"]


def test_control_needs_the_password(running: Running) -> None:
    with pytest.raises(xmlrpc.client.ProtocolError, match="401"):
        xmlrpc.client.ServerProxy(running.inventory["control"]["url"]).supervisor.getAllProcessInfo()
    ingest = next(c for c in running.inventory["components"] if c["stage"] == "ingest")
    assert httpx.post(f"{ingest['inputs']['url']}/backup").status_code == 401


def test_second_run_in_the_folder_is_refused(running: Running) -> None:
    words = [sys.executable, "-m", "soundstage", "run", "--dir", str(running.folder)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=PROJECT, timeout=60, check=False)
    assert done.returncode == 1
    assert "runs in" in done.stderr
    assert (running.folder / "stage.json").exists()


def test_killed_transcoder_costs_sound_until_it_is_started_again(running: Running) -> None:
    truth = command("inject", "transcoder-crash", "--dir", str(running.folder), "--seed", "1")
    assert truth["cause"] == "component:transcoder-ch1:crash"
    wait_for(lambda: running.players("player_stalled") > 0, 20, "players stall")
    missing = command("outcome", truth["id"], "--dir", str(running.folder))
    assert missing["impact_ended_s"] is None
    assert 0.5 < missing["impact_started_s"] < 20
    assert running.supervisor.getProcessInfo("transcoder-ch1")["statename"] == "EXITED"

    running.supervisor.startProcess("transcoder-ch1")
    started = time.monotonic()

    def back() -> Any:
        found = command("outcome", truth["id"], "--dir", str(running.folder))
        return found if found["impact_ended_s"] is not None else None

    ended = wait_for(back, 30, "sound is back")
    assert time.monotonic() - started < 20
    assert ended["impact_ended_s"] > ended["impact_started_s"]
    assert 0 < ended["listener_minutes_lost"] < 4 * ended["impact_ended_s"] / 60
    assert any(entry.discontinuity for entry in running.playlist("aac-128")[1].entries)
    assert 20 * np.log10(np.sqrt(np.mean(running.newest_sound("aac-128") ** 2))) > -30
    healed = command("heal", truth["id"], "--dir", str(running.folder))
    assert healed["id"] == truth["id"]


def test_fault_from_outside_the_project_is_injected_and_healed(running: Running) -> None:
    outside = ["--faults-from", str(EXAMPLES)]
    truth = command("inject", "edge-crash", "--dir", str(running.folder), *outside)
    assert truth["cause"] == f"{truth['entity']}:crash"
    (edge,) = (edge["base_url"] for edge in running.inventory["edges"] if edge["id"] == truth["entity"])
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{edge}/ch1/aac-64/index.m3u8")
    command("heal", truth["id"], "--dir", str(running.folder))

    def back() -> bool:
        with contextlib.suppress(httpx.TransportError):  # it was started, and may not listen yet
            return httpx.get(f"{edge}/ch1/aac-64/index.m3u8").status_code == 200
        return False

    wait_for(back, 20, "the edge is back")


def hits_of(running: Running, seconds: float) -> float:
    """The share of lookups that the edges answer from their caches within so long."""

    def counted() -> tuple[float, float]:
        urls = [f"{edge['base_url']}/metrics" for edge in running.inventory["edges"]]
        hits, misses = (
            sum(running.metric(url, f"edge_cache_{name}_total") for url in urls) for name in ("hits", "misses")
        )
        return hits, misses

    hits, misses = counted()
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began >= seconds, seconds + 5, "the window is over")
    more_hits, more_misses = counted()
    return (more_hits - hits) / max(more_hits - hits + more_misses - misses, 1)


def test_audience_that_favours_one_rendition_shares_what_the_edges_keep(running: Running) -> None:
    assert hits_of(running, 6.0) < 0.2
    folder = ("--dir", str(running.folder))
    told = command("audience", "--channel", "ch1", "--rendition", "opus-96", *folder)
    assert told["favourite"] == ["ch1", "opus-96", 1.0]
    wait_for(lambda: hits_of(running, 4.0) > 0.3, 60, "players of an edge hear the same")
    assert running.players("player_stalled") == 0
    command("audience", "--channel", "ch1", "--rendition", "opus-96", "--share", "0", *folder)
    wait_for(lambda: hits_of(running, 4.0) < 0.2, 60, "each hears its own again")
    words = [sys.executable, "-m", "soundstage", "audience", "--channel", "ch9", "--rendition", "opus-96", *folder]
    refused = subprocess.run(words, capture_output=True, text=True, cwd=PROJECT, timeout=60, check=False)
    assert refused.returncode == 1
    assert "channels are ch1" in refused.stderr


def test_ingest_takes_the_backup_without_a_gap(running: Running) -> None:
    ingest = next(c for c in running.inventory["components"] if c["stage"] == "ingest")
    login = httpx.URL(running.stage["supervisor_url"])
    before = running.playlist("opus-96")[1].entries[-1]
    assert httpx.post(f"{ingest['inputs']['url']}/backup", auth=(login.username, login.password)).text == "backup"
    running.supervisor.stopProcess("source-ch1-primary")

    def followers() -> Any:
        entries = running.playlist("opus-96")[1].entries
        return [entry for entry in entries if entry.start_us > before.start_us + 5_000_000]

    assert not any(entry.discontinuity for entry in wait_for(followers, 20, "the programme goes on"))
    running.supervisor.startProcess("source-ch1-primary")


@pytest.mark.parametrize("process", ["packager", "ingest-ch1", "edge-1", "edge-2", "links", "players", "director"])
def test_chain_goes_on_after_a_part_was_killed_and_started_again(running: Running, process: str) -> None:
    os.kill(running.supervisor.getProcessInfo(process)["pid"], signal.SIGKILL)
    wait_for(lambda: running.supervisor.getProcessInfo(process)["statename"] == "EXITED", 10, "it is gone")
    running.supervisor.startProcess(process)
    url = running.stage["inventory_url"].replace("/inventory", "/health")

    def well() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(url, timeout=10).status_code == 200 and running.players("player_stalled") == 0
        return False

    wait_for(well, 25, f"well again after {process}")


def test_kill_9_of_run_leaves_no_process_and_no_media(tmp_path: Path) -> None:
    started = begin(tmp_path / "stage")
    media = Path(json.loads((started.folder / "plan.json").read_text())["media"])
    assert len(janitor.processes_of(started.folder)) > 8
    assert media.exists()
    # One that is frozen must go too.
    os.kill(started.supervisor.getProcessInfo("packager")["pid"], signal.SIGSTOP)
    started.process.kill()
    started.process.wait(10)
    wait_for(lambda: not janitor.processes_of(started.folder), 20, "no process is left")
    wait_for(lambda: not media.exists(), 10, "no media is left")
    wait_for(lambda: not (started.folder / "stage.json").exists(), 5, "nothing says that it runs")
