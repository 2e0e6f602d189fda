"""Who has just started while the registry is away goes by the models that an earlier watcher kept: on a real MLflow."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from ml import kept, registry
from ml.champion import Champion
from tasks.fetch import Bench
from tests.integration import test_fetch
from tests.integration.servers import Mlflow
from tests.integration.test_fetch import FAMILY, ROWS, same
from tests.integration.test_kinds_in_registry import spoil
from tests.integration.test_training import own
from tonewatch.errors import ModelError
from warehouse.calibrations import Calibrated

pytestmark = pytest.mark.timeout(300)
AWAY = "http://127.0.0.1:9"
#: What is damaged in this file are copies, so that equal forests share their files.
made = partial(test_fetch.made, own_files=False)


def judged(own_mlflow: Mlflow, folder: Path, *seeds: int) -> tuple[list[Calibrated], list[Champion]]:
    """Champions one after the other, under one watcher: the tenant's thresholds of them, and how they judged."""
    bench, mine, judges = Bench("ours", own_mlflow.url, folder), [], []
    for seed in seeds:
        mine.append(own(FAMILY, made(own_mlflow, seed), 0.8))
        judges.append(bench.champions(mine)[FAMILY])
    return mine, judges


def lying(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def names(*judges: Champion) -> set[str]:
    return {kept.JUDGING, *(f"{FAMILY}-isolation-forest-{each.version}" for each in judges)}


def heir(folder: Path) -> Bench:
    return Bench("ours", AWAY, folder)


def test_who_starts_while_the_registry_is_away_judges_by_what_judged_last(own_mlflow: Mlflow, tmp_path: Path) -> None:
    mine, (_, last) = judged(own_mlflow, tmp_path, 1, 2)
    still = heir(tmp_path).champions([mine[0], own(FAMILY, last.version, 0.85)])[FAMILY]
    assert (still.version, still.threshold, same(still, last)) == (last.version, 0.85, True)
    assert heir(tmp_path).champions([])[FAMILY].threshold == 0.7, "its training's tenant had it"
    with pytest.raises(ModelError, match="were not read"):
        Bench("theirs", AWAY, tmp_path).champions([])
    with pytest.raises(ModelError, match="were not read"):
        heir(tmp_path).champions(mine, frozenset(each.model_version for each in mine))
    back = heir(tmp_path)
    held = back.champions(mine)[FAMILY]
    back.tracking_uri = own_mlflow.url
    assert back.champions(mine)[FAMILY].detector is held.detector, "what is held is not fetched again"


def test_only_who_judges_and_the_one_before_are_kept(own_mlflow: Mlflow, tmp_path: Path) -> None:
    _, judges = judged(own_mlflow, tmp_path, 1, 2, 3)
    assert lying(tmp_path) == names(*judges[1:])


def test_who_starts_while_the_champion_fails_judges_by_what_judged_before_it(
    own_mlflow: Mlflow, tmp_path: Path
) -> None:
    mine, judges = judged(own_mlflow, tmp_path, 1, 2)
    mine.append(own(FAMILY, made(own_mlflow, 4, brittle=True), 0.8))
    for _ in range(2):
        bench = Bench("ours", own_mlflow.url, tmp_path)
        still = bench.champions(mine)[FAMILY]
        assert (still.version, same(still, judges[1]), bench.failing) == (judges[1].version, True, [])
        assert bench.champions(mine)[FAMILY].detector is still.detector, "what is held is not read again"
        assert lying(tmp_path) == names(*judges), "what never scored is not kept"


def test_what_is_kept_stays_while_the_champion_fails_and_none_of_it_can_judge(
    own_mlflow: Mlflow, tmp_path: Path
) -> None:
    mine, judges = judged(own_mlflow, tmp_path, 1, 2)
    broken = own(FAMILY, made(own_mlflow, 4, brittle=True), 0.8)
    about = [tmp_path / f"{FAMILY}-isolation-forest-{each.version}" / kept.ABOUT for each in judges]
    whole = [each.read_text(encoding="utf-8") for each in about]
    for each in about:
        each.write_text("{}", encoding="utf-8")
    bench = Bench("ours", own_mlflow.url, tmp_path)
    assert (bench.champions([*mine, broken]), len(bench.failing)) == ({}, 1)
    assert lying(tmp_path) == names(*judges)
    assert bench.champions([*mine, broken], frozenset({mine[0].model_version})) == {}
    assert lying(tmp_path) == names(judges[1]), "but for what is retired"
    about[1].write_text(whole[1], encoding="utf-8")
    assert bench.champions([*mine, broken])[FAMILY].version == judges[1].version


@pytest.mark.parametrize("damage", ["a bit of the numbers", "the tags", "a file is lost"])
def test_what_is_damaged_judges_nothing_and_the_one_before_does(
    own_mlflow: Mlflow, tmp_path: Path, damage: str
) -> None:
    mine, (first, last) = judged(own_mlflow, tmp_path, 1, 2)
    whole = tmp_path / f"{FAMILY}-isolation-forest-{last.version}"
    match damage:
        case "a bit of the numbers":
            spoil(whole)
        case "the tags":
            about = whole / kept.ABOUT
            about.write_text(about.read_text(encoding="utf-8").replace('"0.7"', '"0.1"'), encoding="utf-8")
        case _:
            (whole / kept.MODEL / "MLmodel").unlink()
    still = heir(tmp_path).champions(mine)[FAMILY]
    assert (still.version, same(still, first)) == (first.version, True)
    mended = Bench("ours", own_mlflow.url, tmp_path).champions(mine)[FAMILY]
    assert (mended.version, heir(tmp_path).champions(mine)[FAMILY].version) == (last.version, last.version)


def test_a_folder_that_is_lost_or_cannot_be_read_is_as_none(own_mlflow: Mlflow, tmp_path: Path) -> None:
    folder = tmp_path / "champions"
    mine, (only,) = judged(own_mlflow, folder, 1)
    (folder / kept.JUDGING).write_text('{"transcode": 7', encoding="utf-8")
    with pytest.raises(ModelError, match="were not read"):
        heir(folder).champions(mine)
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="were not read"):
        heir(folder).champions(mine)
    folder.write_text("no folder", encoding="utf-8")
    assert Bench("ours", own_mlflow.url, folder).champions(mine)[FAMILY].version == only.version
    folder.unlink()
    assert Bench("ours", own_mlflow.url, folder).champions(mine)[FAMILY].version == only.version
    assert lying(folder) == names(only)


def fetch_and_die(url: str, folder: Path, mine: list[Calibrated], moment: str) -> None:
    """Fetch in a process of its own, which is killed in the middle of a copy, or `before` it is noted who judges."""

    def killing(*about: object) -> None:
        if moment == "copy":
            artefact, into = (Path(str(each)) for each in about[:2])
            into.mkdir()
            shutil.copy(artefact / "MLmodel", into)
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "copy":
        shutil.copytree = killing
    else:
        kept.note = killing
    Bench("ours", url, folder).champions(mine)


@pytest.mark.parametrize("moment", ["copy", "note"])
def test_who_is_killed_while_a_model_is_kept_leaves_the_one_before(
    own_mlflow: Mlflow, tmp_path: Path, moment: str
) -> None:
    mine, (first,) = judged(own_mlflow, tmp_path, 1)
    mine.append(own(FAMILY, made(own_mlflow, 2), 0.8))
    doomed = multiprocessing.get_context("spawn").Process(
        target=fetch_and_die, args=(own_mlflow.url, tmp_path, mine, moment)
    )
    doomed.start()
    doomed.join(120)
    assert doomed.exitcode == -signal.SIGKILL
    assert lying(tmp_path) > names(first)
    still = heir(tmp_path).champions(mine)[FAMILY]
    assert (still.version, same(still, first)) == (first.version, True)
    now = Bench("ours", own_mlflow.url, tmp_path).champions(mine)[FAMILY]
    assert lying(tmp_path) == names(first, now)
    assert (
        registry.fetch(own_mlflow.url, FAMILY, now.version).detector.score(ROWS).tolist()
        == now.detector.score(ROWS).tolist()
    )
