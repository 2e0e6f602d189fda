"""What a watcher holds scores on, whatever the registry does: on a real MLflow."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from feature_store.windows import window_features
from ml import artefacts, registry
from ml.champion import Champion
from tasks.fetch import AGAIN_SECONDS, Bench
from tests.integration.promoting import version
from tests.integration.servers import Mlflow
from tests.integration.test_kinds_in_registry import spoil
from tests.integration.test_training import own, published
from tests.unit.transcoders import PARTS, at, telemetry
from tonewatch.clock import ManualClock
from tonewatch.errors import ModelError, ModelUnfit

pytestmark = pytest.mark.timeout(300)
FAMILY, OTHER = "transcode", "package"
ROWS = window_features(FAMILY, telemetry(0, 60), [at(20), at(40)], 10.0, entities=PARTS).values


def made(own_mlflow: Mlflow, seed: int, *, brittle: bool = False, own_files: bool = True) -> str:
    """A new champion (promoting.version). Its files are its own here, where some are damaged."""
    new = version(own_mlflow.url, "ours", FAMILY, seed, brittle=brittle, own_files=own_files)
    registry.promote(own_mlflow.url, FAMILY, new)
    return new


def same(one: Champion, other: Champion) -> bool:
    return np.array_equal(one.detector.score(ROWS), other.detector.score(ROWS))


def test_a_champion_whose_artefact_was_changed_leaves_the_one_before_scoring(
    own_mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    first = made(own_mlflow, 1)
    bench = Bench("ours", own_mlflow.url)
    held = bench.champions([own(FAMILY, first, 0.8)])[FAMILY]
    second = made(own_mlflow, 2)
    spoil(own_mlflow.folder)
    mine = [own(FAMILY, first, 0.75), own(FAMILY, second, 0.9)]
    still = bench.champions(mine)[FAMILY]
    assert (still.version, still.threshold) == (first, 0.75)
    assert same(still, held)
    assert f"{first} scores on" in caplog.text
    retired = frozenset({mine[0].model_version})
    assert FAMILY not in bench.champions(mine, retired)
    assert FAMILY not in Bench("ours", own_mlflow.url).champions(mine[1:])


def test_what_is_held_scores_on_while_the_registry_is_away_unless_it_is_retired(own_mlflow: Mlflow) -> None:
    first = made(own_mlflow, 3)
    bench, mine = Bench("ours", own_mlflow.url), [own(FAMILY, first, 0.8)]
    held = bench.champions(mine)[FAMILY]
    bench.tracking_uri = "http://127.0.0.1:9"
    still = bench.champions([own(FAMILY, first, 0.85)])[FAMILY]
    assert (still.version, still.threshold) == (first, 0.85)
    assert same(still, held)
    assert bench.champions(mine, frozenset({mine[0].model_version})) == {}, "not even where nothing else is held"
    with pytest.raises(ModelError, match="were not read"):
        Bench("ours", "http://127.0.0.1:9").champions(mine)


def test_a_champion_that_fails_takes_no_other_familys_with_it_and_is_told(own_mlflow: Mlflow) -> None:
    other = published(own_mlflow.url, OTHER, "ours")
    broken = made(own_mlflow, 5, brittle=True)
    mine = [own(OTHER, other, 0.8), own(FAMILY, broken, 0.8)]
    bench = Bench("ours", own_mlflow.url)
    assert bench.champions(mine).keys() == {OTHER}
    ((family, version, why),) = [(each.family, each.version, each.why) for each in bench.failing]
    assert (family, version, "ValueError" in why) == (FAMILY, broken, True)
    assert bench.champions(mine).keys() == {OTHER}
    with pytest.raises(ModelError, match="ValueError"):
        bench.judge(FAMILY, broken, mine)
    healthy = made(own_mlflow, 6)
    assert bench.champions([*mine, own(FAMILY, healthy, 0.8)]).keys() == {OTHER, FAMILY}
    assert bench.failing == []
    worse = made(own_mlflow, 7, brittle=True)
    still = bench.champions([*mine, own(FAMILY, healthy, 0.8), own(FAMILY, worse, 0.8)])[FAMILY]
    assert (still.version, bench.failing) == (healthy, []), "the one before scores on"
    assert Bench("theirs", own_mlflow.url).champions([own(OTHER, other, 0.8)]).keys() == {OTHER}


def test_a_champion_that_cannot_be_used_is_tried_again_only_after_minutes(own_mlflow: Mlflow) -> None:
    version, clock = made(own_mlflow, 9), ManualClock(at(0))
    bench, mine = Bench("ours", own_mlflow.url, clock=clock), [own(FAMILY, version, 0.8)]
    model = max(own_mlflow.folder.rglob("*.skops"), key=lambda each: each.stat().st_mtime)
    whole = model.read_bytes()
    spoil(own_mlflow.folder)
    assert model.read_bytes() != whole
    assert FAMILY not in bench.champions(mine)
    model.write_bytes(whole)
    clock.advance(AGAIN_SECONDS - 1)
    assert FAMILY not in bench.champions(mine)
    assert "have the hash" in bench.failing[0].why, "as it was said the first time"
    clock.advance(1)
    assert bench.champions(mine)[FAMILY].version == version


def test_a_model_that_cannot_be_read_by_todays_libraries_is_unfit(own_mlflow: Mlflow) -> None:
    version = made(own_mlflow, 8)
    with registry.server(own_mlflow.url, "not changed") as client:  # as one of before there were hashes
        client.delete_model_version_tag(f"{FAMILY}-isolation-forest", version, registry.CONTENT)
    about = max(own_mlflow.folder.rglob("MLmodel"), key=lambda each: each.stat().st_mtime)
    about.write_text(about.read_text(encoding="utf-8").replace("floors:", "flaws:"), encoding="utf-8")
    with pytest.raises(ModelUnfit, match="cannot be read here: KeyError"):
        registry.fetch(own_mlflow.url, FAMILY, version)


def test_what_a_killed_process_left_of_a_download_is_removed_and_what_is_under_way_is_not(
    own_mlflow: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = made(own_mlflow, 4)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, going = (tmp_path / f"{artefacts.FOLDERS}{name}" for name in ("left", "going"))
    for folder in (left, going):
        folder.mkdir()
        (folder / "model.skops").write_bytes(b"half a model")
    hours_ago = time.time() - 2 * artefacts.LEFT_SECONDS
    os.utime(left, (hours_ago, hours_ago))
    assert registry.fetch(own_mlflow.url, FAMILY, version).detector.version == version
    assert sorted(tmp_path.iterdir()) == [going]


def test_a_model_for_which_the_disk_has_no_room_is_not_fetched_and_takes_no_other_familys_with_it(
    own_mlflow: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, mine = Bench("ours", own_mlflow.url), [own(FAMILY, made(own_mlflow, 11), 0.8)]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert bench.champions(mine) == {}
    assert bench.failing == [], "the machine's fault is no model's"
    monkeypatch.undo()
    assert FAMILY in bench.champions(mine), "the next time it may be fetched"
