"""Machines of many series with labelled rows (SMD, ASD): read, judged by one ensemble and by baselines, and told.

Models, weights and thresholds come from a machine's train half alone, which has no labels; the labels of the test half
are looked at by the measures only.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from ml.detectors.base import Floats
from ml.row_ensemble import RowEnsemble
from tests.benchmarks import _points
from tests.benchmarks._published import say

HERE = Path("/work/shared/data")
#: The smallest difference worth noticing: the publishers scaled every metric to [0, 1].
FLOOR = 0.01
#: The baselines' thresholds: this quantile of their own train scores.
BASELINE_QUANTILE = 0.995
MEASURES = ("auc_pr", "vus_pr", "f1_best", "f1_auto", "pa20", "pa50", "pa80", "event_f1", "delay_rows")


@dataclass(frozen=True)
class Machine:
    """One machine: train and test rows, (rows, series), and which test rows belong to an event."""

    name: str
    train: Floats
    test: Floats
    labels: _points.Labels


class Voice(Protocol):
    """Learns from train rows, then gives scores of train (or None) and test rows, and alarms on the test rows."""

    def __call__(self, train: Floats, test: Floats) -> tuple[Floats, _points.Labels]: ...


def folder(root: Path, kind: str) -> Path:
    """Where the machines of this kind lie under `root`. Raises SystemExit: nowhere."""
    for candidate in (root / "detection" / kind, root / kind, root):
        if any(candidate.glob("*.parquet")):
            return candidate
    raise SystemExit(
        f"no *.parquet in {root}/detection/{kind}: name the folder that holds detection/{kind}, "
        f"as in make bench NAME={kind} DATA=folder"
    )


def machines(root: Path, kind: str) -> list[Machine]:
    """All of them, by name. Raises SystemExit: none there, or a file without split, t, label and metrics."""
    return [_read(path) for path in sorted(folder(root, kind).glob("*.parquet"))]


def _read(path: Path) -> Machine:
    table = pd.read_parquet(path)
    columns = sorted(name for name in table.columns if re.fullmatch(r"m\d+", name))
    if not columns or not {"split", "t", "label"} <= set(table.columns):
        raise SystemExit(f"{path} holds no split, t, label and m01, m02, ...: it is no machine's file")
    halves = {half: rows.sort_values("t") for half, rows in table.groupby("split")}
    train, test = (halves[half][columns].to_numpy(dtype=np.float64) for half in ("train", "test"))
    return Machine(path.stem, train, test, halves["test"]["label"].to_numpy() == 1)


def ensemble(recent: int, seed: int = 0, **options: Any) -> Voice:
    """The product's default for rows, or with other options."""

    def voice(train: Floats, test: Floats) -> tuple[Floats, _points.Labels]:
        names = [f"m{number:02}" for number in range(1, train.shape[1] + 1)]
        learned = RowEnsemble(names, [FLOOR] * len(names), recent=recent, seed=seed, **options).fit(train)
        surprise = learned.surprise(test)
        return surprise, surprise > learned.threshold

    return voice


def _judged(score: Callable[[Floats], Floats], train: Floats, test: Floats) -> tuple[Floats, _points.Labels]:
    threshold = np.quantile(score(train), BASELINE_QUANTILE)
    scores = score(test)
    return scores, scores > threshold


def _standard(train: Floats) -> Callable[[Floats], Floats]:
    """Deviations in standard deviations of the series that move in the train half, clipped at 20."""
    spread = train.std(axis=0)
    moving = spread > 1e-6
    return lambda rows: np.clip(((rows - train.mean(axis=0)) / np.maximum(spread, 1e-6))[:, moving], -20, 20)


def mean_z(train: Floats, test: Floats) -> tuple[Floats, _points.Labels]:
    """The mean of the clipped |z|: the baseline that the goals are set on."""
    standard = _standard(train)
    return _judged(lambda rows: np.abs(standard(rows)).mean(axis=1), train, test)


def pca(train: Floats, test: Floats) -> tuple[Floats, _points.Labels]:
    """Squared error of what the components with 90 % of the variance rebuild."""
    standard = _standard(train)
    model = PCA(n_components=0.9, svd_solver="full").fit(standard(train))

    def score(rows: Floats) -> Floats:
        known = standard(rows)
        return np.asarray(np.mean((known - model.inverse_transform(model.transform(known))) ** 2, axis=1))

    return _judged(score, train, test)


def forest(train: Floats, test: Floats) -> tuple[Floats, _points.Labels]:
    """scikit-learn's IsolationForest on the rows as they are."""
    model = IsolationForest(n_estimators=100, random_state=0).fit(train)
    return _judged(lambda rows: -model.score_samples(rows), train, test)


def chance(train: Floats, test: Floats) -> tuple[Floats, _points.Labels]:
    """A random score."""
    dice = np.random.default_rng(0)
    return _judged(lambda rows: dice.random(len(rows)), train, test)


BASELINES: Mapping[str, Voice] = {"mean |z|": mean_z, "PCA": pca, "IForest": forest, "random": chance}


def heard(voice: Voice, among: Sequence[Machine]) -> tuple[list[dict[str, Any]], list[Floats]]:
    """Per machine the measures and seconds; and the scores of the test rows."""
    told, scores = [], []
    for machine in among:
        began = perf_counter()
        score, alarms = voice(machine.train, machine.test)
        took = perf_counter() - began
        told.append(_points.measures(score, machine.labels, alarms) | {"machine": machine.name, "seconds": took})
        scores.append(score)
    return told, scores


def macro(told: Sequence[Mapping[str, Any]], names: Sequence[str] = (*MEASURES, "seconds")) -> dict[str, float]:
    """The mean over machines of each measure; a delay only where an event was found."""
    found = {}
    for name in names:
        values = [each[name] for each in told if each[name] is not None]
        found[name] = round(float(np.mean(values)), 4) if values else float("nan")
    return found


def told(kind: str, among: Sequence[Machine], recent: int, seed: int) -> tuple[dict[str, Any], list[Floats]]:
    """Ensemble and baselines on these machines: macro means, per machine; and the ensemble's scores."""
    by_voice: dict[str, list[dict[str, Any]]] = {}
    scores: list[Floats] = []
    for name, voice in {"ensemble": ensemble(recent, seed), **BASELINES}.items():
        by_voice[name], found = heard(voice, among)
        scores = found if name == "ensemble" else scores
        say(f"{kind}: {name} " + ", ".join(f"{key} {value}" for key, value in macro(by_voice[name]).items()))
    return by_voice, scores


def figures(by_voice: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The ensemble's macro means, and what it gains on the mean |z| of the same run."""
    ours, theirs = macro(by_voice["ensemble"]), macro(by_voice["mean |z|"])
    gains = {
        f"{key}_gain": round(ours[name] - theirs[name], 4)
        for key, name in (("auc_pr", "auc_pr"), ("vus_pr", "vus_pr"), ("f1", "f1_best"))
    }
    return (
        gains | {name: value for name, value in ours.items() if name != "seconds"} | {"s_per_machine": ours["seconds"]}
    )


def rounded(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """To what can be read."""
    return [{key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()} for row in rows]


def options(doc: str) -> argparse.ArgumentParser:
    """What every one of these benchmarks takes: --json, --data (or the variable DATA), --seed."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATA") or HERE), help="holds detection/")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def table(rows: Mapping[str, Mapping[str, float]], first: str) -> list[str]:
    """Lines of a table: a line per name with its macro measures."""
    head = (*MEASURES, "seconds")
    lines = [f"| {first} | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    return lines + [f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in head) + " |" for name, row in rows.items()]
