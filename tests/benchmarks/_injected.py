"""Faults put into a machine's train half: what can be chosen by without a look at the labels of any test half.

The first two thirds are learned from; faults of six kinds go into copies of the last third. What is wrong in it already
counts as calm, alike for everything that is compared.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ml.detectors.base import Floats
from tests.benchmarks._machines import FLOOR, Machine

#: Faults per machine, and the shortest and longest, rows.
COUNT, SHORTEST, LONGEST = 12, 3, 300
#: Standard deviations by which a fault moves its series.
WEAKEST, STRONGEST = 3.0, 15.0

Fault = Callable[[Floats, Floats, np.random.Generator], Floats]


def _shift(rows: Floats, spread: Floats, chance: np.random.Generator) -> Floats:
    sizes: Floats = chance.uniform(WEAKEST, STRONGEST, rows.shape[1]) * chance.choice([-1, 1], rows.shape[1])
    return rows + sizes * spread


def _ramp(rows: Floats, spread: Floats, chance: np.random.Generator) -> Floats:
    return rows + (_shift(rows, spread, chance) - rows) * np.linspace(0, 1, len(rows))[:, None]


def _noise(rows: Floats, spread: Floats, chance: np.random.Generator) -> Floats:
    return rows + chance.normal(0, 1, rows.shape) * spread * chance.uniform(WEAKEST, STRONGEST)


def _frozen(rows: Floats, spread: Floats, chance: np.random.Generator) -> Floats:
    return np.repeat(rows[:1], len(rows), axis=0)


def _gone(rows: Floats, spread: Floats, chance: np.random.Generator) -> Floats:
    return np.zeros_like(rows)


def _mixed(rows: Floats, spread: Floats, chance: np.random.Generator) -> Floats:
    """The moments in another order: each value is usual, together they are not."""
    return chance.permuted(rows, axis=0)


KINDS: dict[str, Fault] = {
    "shift": _shift,
    "ramp": _ramp,
    "noise": _noise,
    "frozen": _frozen,
    "gone": _gone,
    "mixed": _mixed,
}


def injected(machine: Machine, seed: int) -> Machine:
    """The machine's train half cut in two, with faults in the second part, (rows, series), and where they are."""
    chance = np.random.default_rng(seed)
    cut = len(machine.train) * 2 // 3
    calm, rows = machine.train[:cut], machine.train[cut:].copy()
    spread, labels = np.maximum(calm.std(axis=0), FLOOR), np.zeros(len(rows), dtype=bool)
    room = len(rows) // COUNT
    kinds = list(KINDS)
    for number in range(COUNT):
        length = min(int(np.exp(chance.uniform(np.log(SHORTEST), np.log(LONGEST)))), room // 2)
        begin = number * room + int(chance.integers(0, room - length))
        series = chance.choice(rows.shape[1], int(chance.integers(1, max(rows.shape[1] // 4, 2))), replace=False)
        place = np.ix_(np.arange(begin, begin + length), series)
        rows[place] = KINDS[kinds[number % len(kinds)]](rows[place], spread[series], chance)
        labels[begin : begin + length] = True
    return Machine(f"{machine.name}, faults {seed}", calm, rows, labels)
