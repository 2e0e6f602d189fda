"""Isolation forests: scikit-learn's, kept by skops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml.detectors.family import FamilyDetector
from ml.detectors.isolation_forest import NARROWEST, SAMPLES, ForestDetector
from ml.kinds.base import Kind, Packed
from tonewatch.errors import ModelError


def _forest(detector: FamilyDetector) -> ForestDetector:
    if not isinstance(detector, ForestDetector):
        raise ModelError(f"a {type(detector).__name__} is no isolation forest")
    return detector


def _make(names: Sequence[str], floors: Sequence[float], seed: int, **settings: Any) -> ForestDetector:
    return ForestDetector(names, floors, seed=seed, **settings)


def _pack(detector: FamilyDetector) -> Packed:
    forest = _forest(detector)
    state = {"names": list(forest.names), "floors": list(forest.floors), "limits": forest.limits.tolist()}
    return Packed(state, forest.pipeline)


def _unpack(packed: Packed) -> FamilyDetector:
    state: Mapping[str, Any] = packed.state
    return ForestDetector.restored(packed.pipeline, state["names"], state["floors"], state["limits"], "")


KIND = Kind(
    name=ForestDetector.kind,
    title="isolation forest on each window alone",
    make=_make,
    pack=_pack,
    unpack=_unpack,
    params=lambda _: {},
    packages=("scikit-learn", "skops", "numpy", "scipy"),
    space={"trees": (100, 300), "samples": (SAMPLES, 64, 1024), "narrowest": (NARROWEST, 2.0, 5.0)},
)
