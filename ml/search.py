"""Which settings of a kind a training tries, and which of those that it tried it takes. Pure.

The default is always tried, first, and another takes its place only where it finds more of the same anomalies than
chance would have it: the best of many tries looks better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid

from ml.gate import CHANCE, Flags, worse


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What came of some settings. found: which anomalies, (anomalies,); failure: why nothing did, else empty."""

    settings: Mapping[str, Any]
    found: Flags
    threshold: float = float("nan")
    failure: str = ""

    @property
    def recall(self) -> float:
        """The share of the anomalies that was found."""
        return float(self.found.mean()) if len(self.found) else 0.0


def candidates(space: Mapping[str, Sequence[Any]], trials: int, seed: int) -> list[dict[str, Any]]:
    """At most so many settings of the space, the defaults first; the same seed gives the same, fewer the first of them.

    >>> candidates({"trees": (100, 300)}, 5, 0)
    [{'trees': 100}, {'trees': 300}]
    """
    default = {name: values[0] for name, values in space.items()}
    grid = list(ParameterGrid({name: list(values) for name, values in space.items()}))
    others = [dict(grid[place]) for place in np.random.default_rng([seed, 19]).permutation(len(grid))]
    return [default, *(each for each in others if each != default)][:trials]


def chosen(trials: Sequence[Trial]) -> Trial:
    """The trial that is taken: the first one, of the defaults, unless another finds more than chance would have it."""
    first = trials[0]
    best = max(trials, key=lambda trial: (int(np.sum(trial.found)), trial is first))
    if first.failure or best is first or len(best.found) != len(first.found):
        return first
    return best if worse(first.found, best.found) < CHANCE else first
