"""The simulator: seasons, memory and common noise as told, faults as labelled, and nothing else is changed by them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway import changes, cmcd
from gateway.sources import inventory
from soundstage.errors import FaultError, WishError
from soundstage.simulator import catalogue, recorded, telemetry
from soundstage.simulator.events import events
from soundstage.simulator.placing import Hit
from soundstage.simulator.telemetry import Simulation
from soundstage.simulator.wandering import Wandering
from soundstage.simulator.wish import Wish
from tonewatch.recording import open_recording

DAY = 1_440
#: One platform without faults and one with many, seen for eleven days.
CALM = Wish(series=100, days=11, seed=5, calm_days=1)
BROKEN = replace(CALM, faults=("all",), per_week=40)


@cache
def simulation(wish: Wish) -> Simulation:
    return Simulation(wish)


@cache
def values(wish: Wish) -> np.ndarray:
    return np.concatenate([block.values for block in simulation(wish).blocks()])


def line(wish: Wish, metric: str, entity: str = "") -> int:
    names = [simulation(wish).platform.name(number) for number in range(wish.series)]
    return next(at for at, name in enumerate(names) if name["metric"] == metric and entity in name["entity"])


def moving(wish: Wish) -> list[int]:
    return [number for number, each in enumerate(simulation(wish).platform.lines) if each.kind.moves]


@cache
def increments(wish: Wish) -> np.ndarray:
    """Counters as their steps; what comes after a gap or a restart is not looked at."""
    found = values(wish).copy()
    counters = simulation(wish).figures.counter
    found[1:, counters] = np.diff(values(wish)[:, counters], axis=0)
    found[0, counters] = np.nan
    found[:, counters] = np.where(found[:, counters] < 0, np.nan, found[:, counters])
    return found


# --- the platform ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("series", [10, 37, 100, 300, 1_000])
def test_a_platform_has_as_many_series_as_asked_in_the_order_of_their_names(series: int) -> None:
    platform = simulation(Wish(series=series)).platform
    names = [platform.name(number) for number in range(series)]
    keys = [(name["entity"], name["metric"], name["labels"]) for name in names]
    assert len(platform.lines) == series
    assert keys == sorted(keys)
    assert len({json.dumps(key) for key in keys}) == series


def test_ten_thousand_series_come_in_blocks_that_fit_in_memory() -> None:
    many = Simulation(Wish(series=10_000, days=0.08, players=0))
    blocks = list(many.blocks())
    assert sum(len(block.values) for block in blocks) == many.wish.steps
    assert max(block.values.size for block in blocks) <= telemetry.BLOCK


# --- how figures move ------------------------------------------------------------------------------------------------


def test_the_audience_follows_the_day() -> None:
    sessions = values(CALM)[:, line(CALM, "sessions_playing")]
    course = np.nanmean(sessions[: 4 * DAY].reshape(4, DAY), axis=0)
    night, morning = course[2 * 60 : 4 * 60].mean(), course[7 * 60 : 9 * 60].mean()
    assert morning > 2 * night


def test_the_audience_follows_the_week_and_holidays_are_days_off() -> None:
    calendar = simulation(CALM).calendar
    at_eight = calendar.season((np.arange(11) * 24 + 8.0) * 3600)
    off = {5, 6, *calendar.holidays}  # the first day is a Monday
    working = [at_eight[day] for day in range(1, 11) if day not in off and day - 1 not in off]
    assert max(at_eight[day] for day in (5, 6)) < min(working) - 0.1
    assert simulation(CALM).truth()["no_faults"]["holidays"] == [
        f"{CALM.start + timedelta(days=day):%Y-%m-%d}" for day in sorted(calendar.holidays) if day < 11
    ]


def test_no_midnight_is_a_step() -> None:
    course = simulation(CALM).calendar.season(np.arange(0, 11 * 86_400.0, 60.0))
    assert np.abs(np.diff(course)).max() < 0.02


def test_the_audience_grows_as_told() -> None:
    grown, still = Wish(series=10, days=2, growth=1.0), Wish(series=10, days=2, growth=0.0)
    moved = simulation(grown).calendar.growth(np.array([0.0, 365.25 * 86_400.0]))
    assert moved.tolist() == pytest.approx([0.0, np.log(2.0)])
    assert simulation(still).calendar.growth(np.array([365.25 * 86_400.0])).tolist() == [0.0]


def test_evenings_change_for_good_and_no_other_hour_does() -> None:
    usual = Wish(series=10, days=21, seed=3)
    new = replace(usual, evening=4.0, evening_from=7.0)
    hours = np.arange(0.0, 21 * 24.0) * 3600.0
    before, after = (simulation(each).calendar.season(hours) for each in (usual, new))
    more = after - before
    assert not more[: 7 * 24].any()
    assert (after[7 * 24 :].reshape(14, 24).argmax(axis=1) == 21).all()
    by_hour = more[7 * 24 :].reshape(14, 24)
    assert (by_hour[:, 21] > np.log(4)).all()
    assert np.abs(by_hour[:, 4:14]).max() < 0.05


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9, 0.99])
def test_noise_remembers_as_told(coefficient: float) -> None:
    drawn = Wandering(np.full(40, coefficient), np.zeros(40), [1]).draw(20_000)
    told = np.mean([np.corrcoef(column[:-1], column[1:])[0, 1] for column in drawn.T])
    assert told == pytest.approx(coefficient, abs=0.01)
    assert drawn.std() == pytest.approx(1.0, abs=0.03)


def test_a_series_remembers_as_its_coefficient_says() -> None:
    steady = Wish(series=100, days=8, seed=2, steady=True)
    number = line(steady, "package_playlist_age_seconds")
    figures = simulation(steady).figures
    own = np.log(values(steady)[:, number])
    own = own[~np.isnan(own)]
    share = figures.sd[number] ** 2 / (figures.sd[number] ** 2 + figures.host[number] ** 2)
    remembered = np.exp(-steady.every_s / figures.memory_s[number])
    host = np.exp(-steady.every_s / telemetry.HOST_MEMORY_S)
    assert np.corrcoef(own[:-1], own[1:])[0, 1] == pytest.approx(share * remembered + (1 - share) * host, abs=0.05)


def test_tails_are_heavy_where_told() -> None:
    drawn = Wandering(np.zeros(2), np.array([0.0, 4.0]), [3]).draw(100_000)
    kurtosis = (drawn**4).mean(axis=0) / (drawn**2).mean(axis=0) ** 2
    assert kurtosis[0] == pytest.approx(3.0, abs=0.1)
    assert kurtosis[1] > 5


def test_parts_of_one_host_tremble_together() -> None:
    platform, found = simulation(CALM).platform, increments(CALM)
    lags = [n for n, each in enumerate(platform.lines) if each.kind.metric == "event_loop_lag_seconds"]
    hosts = [platform.parts[platform.lines[n].part].host for n in lags]
    told = np.ma.corrcoef(np.ma.masked_invalid(np.log(found[:, lags])), rowvar=False)
    pairs = [(a, b) for a in range(len(lags)) for b in range(a)]
    near = [told[a, b] for a, b in pairs if hosts[a] == hosts[b]]
    far = [told[a, b] for a, b in pairs if hosts[a] != hosts[b]]
    assert min(near) > max(far) + 0.02


def test_a_counter_falls_only_where_its_process_began_anew() -> None:
    of = simulation(CALM)
    restarts = {(step, part) for step, part in of.usual.resets}
    fallen = set()
    for number in np.flatnonzero(of.figures.counter):
        told = np.flatnonzero(~np.isnan(values(CALM)[:, number]))
        falls = told[1:][np.diff(values(CALM)[told, number]) < 0]
        fallen |= {(int(step), of.platform.lines[number].part) for step in falls}
    assert fallen
    assert all(any(part == p and step - 10 <= s <= step for s, p in restarts) for step, part in fallen)


def test_events_are_poissonian() -> None:
    for mean in (0.3, 4.0, 25.0, 400.0):
        drawn = events(np.full(200_000, mean), np.random.default_rng(1).standard_normal(200_000))
        assert (drawn.mean(), drawn.var()) == pytest.approx((mean, mean), rel=0.03)
        assert drawn.min() >= 0


def test_releases_are_announced_and_a_window_holds_the_time_that_a_part_is_down() -> None:
    long = replace(CALM, days=90)
    of = simulation(long)
    told = of.changes
    released = {(each["entity"], each["started"]) for each in told if each["kind"] == "release"}
    for step, number, _ in of.usual.shifts:
        entity = of.platform.parts[of.platform.lines[number].part].id
        assert (entity, long.time(step).isoformat()) in released
    windows = [each for each in told if each["kind"] == "maintenance"]
    down = [gap for gap in of.usual.gaps if gap.down]
    assert len(windows) == len(down) > 0
    for gap in down:
        entity = of.platform.parts[gap.part].id
        assert any(
            each["entity"] == entity and each["started"] <= long.time(gap.first).isoformat() < each["ended"]
            for each in windows
        )


def test_a_steady_platform_is_neither_released_nor_restarted() -> None:
    usual = simulation(replace(CALM, steady=True)).usual
    assert (usual.changes, usual.resets, usual.shifts) == ([], [], [])


def test_missing_scrapes_leave_gaps_and_nothing_else_does() -> None:
    missing = np.isnan(values(CALM)).mean(axis=0)
    assert 0 < missing.max() < 0.05
    assert np.isfinite(values(CALM)[~np.isnan(values(CALM))]).all()


# --- faults ----------------------------------------------------------------------------------------------------------


def touched(wish: Wish) -> np.ndarray:
    """Where the ground truth says that something is wrong: (steps, series)."""
    found = np.zeros((wish.steps, wish.series), np.bool_)
    for one in simulation(wish).truth()["faults"]:
        for each in one["series"]:
            first, until = (
                round((datetime.fromisoformat(each[name]) - wish.start).total_seconds() / wish.every_s)
                for name in ("onset", "end")
            )
            found[first:until, each["number"]] = True
    return found


def test_every_fault_of_the_catalogue_happens() -> None:
    assert {one["fault"] for one in simulation(BROKEN).truth()["faults"]} == set(catalogue.load())


def test_a_fault_changes_what_the_truth_says_and_nothing_else() -> None:
    same = increments(BROKEN) == increments(CALM)
    gone = np.isnan(increments(BROKEN)) & np.isnan(increments(CALM))
    inside = touched(BROKEN)
    # A counter grows by the fault's share of its sibling's steps, and its first step after a gap or a hold is larger.
    followers = {number for one in simulation(BROKEN).truth()["faults"] for number in one["followers"]}
    assert followers
    after = np.zeros_like(inside)
    after[1:] = inside[:-1]
    for number in sorted(set(range(BROKEN.series)) - followers):
        outside = ~inside[:, number] & ~after[:, number]
        ours, theirs = increments(BROKEN)[outside, number], increments(CALM)[outside, number]
        known = ~np.isnan(ours) & ~np.isnan(theirs)
        assert np.allclose(ours[known], theirs[known], rtol=1e-6), simulation(BROKEN).platform.name(number)
        assert (np.isnan(ours) == np.isnan(theirs)).all()
    for fault in simulation(BROKEN).faults:
        for hit in fault.hits:
            place = slice(hit.first, hit.until)
            assert not (same | gone)[place, hit.line].all(), (fault.fault.name, hit)


def effect(shape: str) -> tuple[Hit, np.ndarray, np.ndarray]:
    """A hit of the shape on a gauge that multiplies, and its figures with and without it."""
    of = simulation(BROKEN)
    plain = set(of.figures.links["log"]) - set(np.flatnonzero(of.figures.counter)) - set(of.figures.drawn)
    plain -= set(of.figures.rounded)
    for fault in of.faults:
        for hit in fault.hits:
            if fault.fault.shape == shape and hit.line in plain and hit.until - hit.first > 1:
                place = slice(hit.first, hit.until)
                return hit, values(BROKEN)[place, hit.line], values(CALM)[place, hit.line]
    raise AssertionError(f"no {shape} in the simulation: choose another seed")


def test_a_shift_is_as_large_as_labelled() -> None:
    hit, with_fault, without = effect("shift")
    spread = simulation(BROKEN).figures.spread[hit.line]
    assert np.nanmedian(np.log(with_fault / without)) == pytest.approx(hit.by * spread, rel=1e-6)


def test_a_drift_rises_to_what_is_labelled() -> None:
    hit, with_fault, without = effect("drift")
    risen = np.log(with_fault / without)
    assert risen[0] < 0.05 * risen[-1]
    assert risen[-1] == pytest.approx(hit.by * simulation(BROKEN).figures.spread[hit.line], rel=1e-6)


def test_variance_grows_by_what_is_labelled() -> None:
    hit, with_fault, without = effect("variance")
    spread = np.nanstd(np.log(with_fault)) / np.nanstd(np.log(without))
    assert 1.5 < spread <= hit.by * 1.1


def test_a_stuck_figure_is_told_again_and_again() -> None:
    for fault in simulation(BROKEN).faults:
        for hit in fault.hits:
            if fault.fault.shape == "stuck":
                told = values(BROKEN)[hit.first - 1 : hit.until, hit.line]
                assert len(set(told[1:][~np.isnan(told[1:])])) == 1


def test_a_dropout_leaves_nothing() -> None:
    hits = [hit for fault in simulation(BROKEN).faults if fault.fault.shape == "dropout" for hit in fault.hits]
    assert hits
    assert all(np.isnan(values(BROKEN)[hit.first : hit.until, hit.line]).all() for hit in hits)


def test_a_cascade_goes_down_the_topology_later_and_weaker() -> None:
    of = simulation(BROKEN)
    paths = [fault for fault in of.faults if fault.fault.name == "cascade"]
    assert any(len({of.platform.lines[hit.line].part for hit in fault.hits}) > 1 for fault in paths)
    for fault in paths:
        reached = dict(of.platform.downstream(fault.part))
        for hit in fault.hits:
            hops = reached[of.platform.lines[hit.line].part]
            assert hit.first == fault.first + hops
            assert abs(hit.by) == pytest.approx(max(abs(h.by) for h in fault.hits) * 0.8**hops)


def test_no_fault_falls_into_the_calm_days_or_onto_another() -> None:
    of = simulation(BROKEN)
    assert min(fault.first for fault in of.faults) >= DAY
    lines: dict[int, list[tuple[int, int]]] = {}
    for fault in of.faults:
        for hit in fault.hits:
            lines.setdefault(hit.line, []).append((hit.first, hit.until))
    for stretches in lines.values():
        stretches.sort()
        assert all(one[1] <= other[0] for one, other in pairwise(stretches))


# --- the catalogue ---------------------------------------------------------------------------------------------------

GOOD = {
    "name": "mine",
    "summary": "Mine.",
    "shape": "shift",
    "reach": "series",
    "magnitude": [4, 8],
    "minutes": [10, 20],
}


def file(folder: Path, **changed: Any) -> Path:
    told = {key: value for key, value in {**GOOD, **changed}.items() if value is not None}
    (folder / "mine.yaml").write_text(json.dumps(told), encoding="utf-8")  # JSON is YAML
    return folder


def test_others_faults_are_found_beside_ours(tmp_path: Path) -> None:
    found = catalogue.load(file(tmp_path, metrics=["probe_latency_seconds"]))
    assert set(found) == {*catalogue.load(), "mine"}
    wish = Wish(days=2, faults=("mine",), faults_from=tmp_path, per_week=20)
    hits = [hit for fault in Simulation(wish).faults for hit in fault.hits]
    assert {Simulation(wish).platform.lines[hit.line].kind.metric for hit in hits} == {"probe_latency_seconds"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": None}, "needs `name`"),
        ({"name": "Mine!"}, "small letters"),
        ({"name": "spike"}, "taken by another fault"),
        ({"summary": ""}, "needs `summary`"),
        ({"shape": "wobble"}, "shape must be one of spike"),
        ({"reach": None}, "reach must be one of series"),
        ({"magnitude": [8, 4]}, r"must be \[from, to\]"),
        ({"magnitude": "large"}, r"two numbers such as \[4, 8\]"),
        ({"magnitude": [0, 4]}, "above 0"),
        ({"minutes": None}, "needs `minutes`"),
        ({"minutes": [1, float("nan")]}, "above 0"),
        ({"metrics": ["no_such"]}, "'no_such', which nothing tells"),
        ({"stages": "edge"}, "list of names"),
        ({"direction": "sideways"}, "direction must be one of"),
        ({"lines": 0}, "lines must be a number from 1"),
        ({"fading": True}, "fading must be a number"),
        ({"colour": "red"}, "knows no key 'colour'"),
    ],
)
def test_a_file_that_is_no_fault_is_refused_by_name_and_reason(tmp_path: Path, changed: Any, told: str) -> None:
    with pytest.raises(FaultError, match=rf"mine\.yaml: .*{told}"):
        catalogue.load(file(tmp_path, **changed))


@pytest.mark.parametrize(
    ("text", "told"), [("a: [", "is no YAML"), ("- a", "must be a mapping"), ("\x00", "is no YAML"), ("", "mapping")]
)
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(FaultError, match=told):
        catalogue.load(tmp_path)


def test_a_folder_without_faults_and_a_name_without_a_fault_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="holds no"):
        catalogue.load(tmp_path)
    with pytest.raises(FaultError, match="no such folder"):
        catalogue.load(tmp_path / "none")
    with pytest.raises(FaultError, match=r"no fault 'wobble'; there are: .*spike"):
        catalogue.chosen(("wobble",))


# --- wishes and files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"series": 9}, "series must be 10 to 10000"),
        ({"series": 10_001}, "series must be"),
        ({"days": 0.0}, "days must hold one reading"),
        ({"days": float("nan")}, "days must"),
        ({"every_s": 0.5}, "every must be 1 to 3600"),
        ({"seed": -1}, "seed must be 0"),
        ({"start": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001 - a time without a zone is what is refused
        ({"per_week": 0.0}, "faults per week"),
        ({"growth": -1.0}, "growth must be"),
        ({"evening": -1.0}, "evening must be"),
        ({"evening_from": -1.0}, "evening from must be"),
        ({"players": -1}, "players must be"),
        ({"calm_days": 1.0}, "calm days must be"),
    ],
)
def test_a_wish_that_nobody_can_grant_is_refused(changed: Any, told: str) -> None:
    with pytest.raises(WishError, match=told):
        Wish(**{"days": 1.0, **changed})


SMALL = Wish(series=40, days=0.5, seed=4, faults=("all",), per_week=60, calm_days=0)


def written(wish: Wish, folder: Path) -> dict[str, bytes]:
    recorded.write(Simulation(wish), folder, lambda _: None)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {**found, "truth": recorded.truth_file(folder).read_bytes()}


def test_the_same_wish_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, again = written(SMALL, tmp_path / "a"), written(SMALL, tmp_path / "b")
    assert first == again
    other = written(replace(SMALL, seed=5), tmp_path / "c")
    same = {name for name in first if first[name] == other[name]}
    assert same <= {"series.json", "entities.jsonl", "inventory.json", "changes.jsonl"}


def test_how_much_is_made_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wish = replace(BROKEN, days=3)
    whole = np.concatenate([block.values for block in Simulation(wish).blocks()])
    monkeypatch.setattr(telemetry, "BLOCK", 7_300)
    parts = [block.values for block in Simulation(wish).blocks()]
    assert len(parts) > 50
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_the_product_reads_what_the_simulator_wrote(tmp_path: Path) -> None:
    recorded.write(Simulation(SMALL), tmp_path / "a", lambda _: None)
    found = open_recording(tmp_path / "a")
    assert found.verify() == found.hash
    told = np.concatenate([block.values for block in Simulation(SMALL).blocks()])
    grid = found.grid()
    assert grid.values.tobytes() == told.tobytes()
    assert grid.times[1] - grid.times[0] == 60_000_000
    assert (found.start, found.end) == (SMALL.start, SMALL.start + timedelta(days=0.5))
    assert found.counts["samples"] == int((~np.isnan(told)).sum())


def test_inventory_changes_and_beacons_are_what_the_gateway_takes(tmp_path: Path) -> None:
    wish = replace(SMALL, days=30.0, every_s=600.0, players=3)
    recorded.write(Simulation(wish), tmp_path / "a", lambda _: None)
    found = open_recording(tmp_path / "a")
    platform = inventory.read((tmp_path / "a" / "inventory.json").read_bytes())
    assert sorted(platform.entities(), key=lambda each: each.id) == list(found.entities)
    body = b"[" + b",".join((tmp_path / "a" / "changes.jsonl").read_bytes().splitlines()) + b"]"
    taken, faults = changes.read(body, wish.start, most=10_000)
    assert faults == []
    assert tuple(taken) == found.changes != ()
    reports = [cmcd.read(line) for line in found.beacons]
    assert len(reports) == 3 * 30 * 144
    assert {report.session for report in reports if report.starved_ms}
    assert [report.time for report in reports] == sorted(report.time for report in reports)


def test_the_truth_lies_beside_the_recording_and_names_it(tmp_path: Path) -> None:
    files = written(SMALL, tmp_path / "a")
    truth = json.loads(files.pop("truth"))
    assert truth["recording"] == open_recording(tmp_path / "a").hash
    assert truth["faults"]
    names = set(catalogue.load()) - {"variance", "stuck", "spike", "leak"}  # words that a metric may hold
    assert not [name for name, content in files.items() for fault in names if fault.encode() in content]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").write_text("mine")
    with pytest.raises(WishError, match="not empty"):
        recorded.write(Simulation(SMALL), tmp_path / "a", lambda _: None)
    assert (tmp_path / "a" / "mine").read_text() == "mine"
    recorded.truth_file(tmp_path / "b").write_text("old")
    with pytest.raises(WishError, match="is there already"):
        recorded.write(Simulation(SMALL), tmp_path / "b", lambda _: None)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "soundstage.simulator", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )


def test_the_command_tells_what_it_wrote(tmp_path: Path) -> None:
    said = command("--series", "20", "--days", "0.2", "--faults", "spike", "--out", str(tmp_path / "a"), "--json")
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert told["hash"] == open_recording(tmp_path / "a").verify()
    assert Path(told["truth"]).exists()
    assert "100% of 0.2 days" in said.stderr


def test_the_command_refuses_in_a_sentence(tmp_path: Path) -> None:
    said = command("--series", "5", "--out", str(tmp_path / "a"))
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "simulator: series must be 10 to 10000, not 5\n"
    said = command("--series", "20")
    assert said.returncode == 2
    assert "--out FOLDER is needed" in said.stderr


def test_a_start_without_a_zone_is_utc() -> None:
    from soundstage.simulator.__main__ import _parser  # the command's own reading of it

    assert _parser().parse_args(["--start", "2026-03-01"]).start == datetime(2026, 3, 1, tzinfo=UTC)
