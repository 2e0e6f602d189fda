"""Several row detectors as one voice: each one's energy becomes a surprise on the tail of its own calm energies.

    energy -> surprise -> geometric mean -> the larger of the row's own and twice its running mean -> threshold

No step needs a label. A surprise is -log of the share of calm rows above; beyond the calm rows it goes on along an
exponential tail whose width is a median, so that events in the training rows do not widen it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ml.detectors.base import Detector, Floats
from ml.detectors.distance import DistanceDetector
from ml.detectors.levels import Levels
from ml.detectors.neighbours import NeighboursDetector
from ml.detectors.ridge_forecast import RidgeForecastDetector
from ml.detectors.rows import FORMAT, LEAST_ROWS, RowDetector, refuse_foreign
from tonewatch.errors import ModelError

#: A member's tail begins above this share of its calm energies; the ensemble's own, that sets the threshold, earlier:
#: the more rows the fit has, the less an event among them weighs.
MEMBER_TAIL, THRESHOLD_TAIL = 0.95, 0.9
#: So many rows in a thousand are expected above the threshold in calm times.
FLAGGED = 1e-3
#: The running mean forgets half in so many rows, and counts so much more than the row itself.
HALF_LIFE, HELD = 5.0, 2.0
#: After so many half-lives nothing is left of a row.
_FORGOTTEN = 24
#: Points of the calm distribution that are kept.
_KEPT = 512


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """How surprising a level is: levels ascend, surprises with them; beyond the last, an exponential of this width."""

    levels: Floats
    surprises: Floats
    width: float

    @classmethod
    def of(cls, calm: Floats, begin: float) -> Tail:
        """From calm values, (rows,), with the tail above the share `begin` of them."""
        shares = np.linspace(0.0, begin, _KEPT)
        levels = np.quantile(calm, shares)
        last = np.append(np.flatnonzero(np.diff(levels) > 0), len(levels) - 1)  # of equal levels the most surprising
        excesses = calm[calm > levels[-1]] - levels[-1]
        # a calm without any spread must not make a tail of width 0, in which rounding is a catastrophe
        least = max(1e-3 * float(levels[-1] - levels[0]), 1e-9 * abs(float(levels[-1])), 1e-9)
        width = float(np.median(excesses)) / math.log(2) if len(excesses) else 0.0
        return cls(levels[last], -np.log1p(-shares[last]), max(width, least))

    def surprise(self, values: Floats) -> Floats:
        """Of each value, (rows,), at least 0."""
        beyond = np.maximum(values - self.levels[-1], 0.0) / self.width
        return np.asarray(np.interp(values, self.levels, self.surprises) + beyond)

    def level(self, rate: float) -> float:
        """Above which a share `rate` of calm rows is expected; never below where the tail begins."""
        return float(self.levels[-1] + self.width * max(-math.log(rate) - self.surprises[-1], 0.0))


def default_members(names: Sequence[str], floors: Sequence[float], recent: int, seed: int) -> dict[str, RowDetector]:
    """Those that docs/results/ablation.md shows to add something."""
    return {
        "distance": DistanceDetector(names, floors),
        "neighbours": NeighboursDetector(names, floors, recent=recent, seed=seed),
        "forecast": RidgeForecastDetector(names, floors, recent=recent),
        "next": RidgeForecastDetector(names, floors, recent=recent, lags=(1, 2, 5), scaled=True),
        "plain next": RidgeForecastDetector(names, floors, lags=(1, 2, 5), scaled=True),
    }


class RowEnsemble(Detector):
    """Row detectors on the same rows; their levels are learned and applied once for all of them.

    members: by name; each either takes no recent level or the ensemble's. weighing: `equal`, or `agreement`: by how
    well a member's calm surprises agree in rank with the others'. steady: whether the running mean counts.
    """

    def __init__(
        self,
        names: Sequence[str],
        floors: Sequence[float],
        *,
        recent: int = 0,
        members: Mapping[str, RowDetector] | None = None,
        weighing: str = "equal",
        steady: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(names)
        self.members = dict(default_members(names, floors, recent, seed) if members is None else members)
        if not self.members or any(each.names != self.names for each in self.members.values()):
            raise ModelError("an ensemble needs members, all of them for its own series")
        if any(each.levels.recent not in (0, recent) for each in self.members.values()):
            raise ModelError(f"a member's recent level takes the ensemble's {recent} rows, or none")
        if weighing not in ("equal", "agreement"):
            raise ModelError(f"members are weighed `equal` or by `agreement`, not {weighing!r}")
        self.weighing, self.steady = weighing, steady
        self.levels = Levels(floors, recent)
        self.tails: dict[str, Tail] = {}
        self.weights: dict[str, float] = {}
        self.threshold = float("nan")
        self.before: Floats = np.empty((0, len(self.names)))

    def fit(self, rows: Floats) -> Self:
        kept = rows[self.usable(rows)]
        if len(kept) < LEAST_ROWS:
            raise ModelError(f"{len(kept)} usable rows of calm telemetry; at least {LEAST_ROWS} are needed to learn")
        self.levels.fit(kept)
        whole = self.levels.filled(kept)
        plain = self.levels.plain(whole)
        settled = self.levels.settled(whole, plain)
        surprises = {}
        for name, member in self.members.items():
            member.levels, member.before = self._levels_for(member), whole[:0]
            deviations = settled if member.levels.recent else plain
            member.learn(deviations)
            energies = member.energy(deviations)
            self.tails[name] = Tail.of(energies, MEMBER_TAIL)
            surprises[name] = self.tails[name].surprise(energies)
        self.weights = agreement(surprises) if self.weighing == "agreement" else dict.fromkeys(surprises, 1.0)
        self.threshold = Tail.of(joined(surprises, self.weights, steady=self.steady), THRESHOLD_TAIL).level(FLAGGED)
        self.before = whole[max(len(whole) - self.looks_back, 0) :]
        return self

    def score(self, rows: Floats, before: Floats | None = None) -> Floats:
        """Strangeness of each row, (rows,), in [0, 1]: surprise / (1 + surprise); `before` as RowDetector.score()."""
        surprise = self.surprise(rows, before)
        return surprise / (1 + surprise)

    def surprise(self, rows: Floats, before: Floats | None = None) -> Floats:
        """How surprising each row is after what was just before, (rows,), in nats of a calm row."""
        plain, settled, count = self._deviations(rows, before)
        if count == 0:
            return np.empty(0)
        surprises = {}
        for name, member in self.members.items():
            energies = member.energy(settled if member.levels.recent else plain)
            surprises[name] = self.tails[name].surprise(energies)
        return joined(surprises, self.weights, steady=self.steady)[-count:]

    def plain_surprise(self, rows: Floats) -> Floats:
        """How surprising each row is, (rows,), by the rows before it here; what is missing says nothing.

        Without recent levels and memory (`recent`, `steady`), each depends on `looks_back` rows before it.
        """
        self._refuse_unlearned()
        self._check_shape(rows)
        plain = self.levels.plain(self.levels.filled(rows))
        surprises = {name: self.tails[name].surprise(each.energy(plain)) for name, each in self.members.items()}
        return joined(surprises, self.weights, steady=False)

    def alarms(self, rows: Floats, before: Floats | None = None) -> npt.NDArray[np.bool_]:
        """Which rows lie above the threshold, (rows,); it comes from the training rows alone."""
        return np.asarray(self.surprise(rows, before) > self.threshold)

    def explain(self, row: Floats) -> dict[str, float]:
        distances = self.distances(np.atleast_2d(row))[0]
        present = sorted(np.flatnonzero(~np.isnan(distances)), key=lambda index: -abs(distances[index]))
        return {self.names[index]: float(distances[index]) for index in present}

    def distances(self, rows: Floats, before: Floats | None = None) -> Floats:
        """The members' parts, weighed, (rows, series), signed, in robust standard deviations; NaN: missing."""
        plain, settled, count = self._deviations(rows, before)
        if count == 0:
            return np.empty(rows.shape)
        total = sum(self.weights.values())
        parts = [
            self.weights[name] / total * member.parts(settled if member.levels.recent else plain)[-count:]
            for name, member in self.members.items()
        ]
        return np.where(np.isfinite(rows), np.sum(parts, axis=0), np.nan)

    @property
    def looks_back(self) -> int:
        """How many rows before a row its score depends on."""
        return self.levels.recent + self._reach

    def kept(self) -> dict[str, Any]:
        """What restored() needs, arrays and plain values."""
        self._refuse_unlearned()
        return {
            "kind": type(self).__name__,
            "format": FORMAT,
            "version": self.version,
            "names": self.names,
            "steady": self.steady,
            "members": {name: member.kept() for name, member in self.members.items()},
            "floors": self.levels.floors,
            "recent": self.levels.recent,
            "tails": {name: (tail.levels, tail.surprises, tail.width) for name, tail in self.tails.items()},
            "weights": self.weights,
            "threshold": self.threshold,
            "before": self.before,
        }

    @classmethod
    def restored(cls, kept: Mapping[str, Any], kinds: Sequence[type[RowDetector]]) -> Self:
        """The ensemble that gave `kept`, its members of these kinds. Raises ModelError: another format, or kind."""
        refuse_foreign(kept, cls.__name__)
        known = {kind.__name__: kind for kind in kinds}
        strange = sorted({member["kind"] for member in kept["members"].values()} - set(known))
        if strange:
            raise ModelError(f"the kept ensemble has members of unknown kind: {', '.join(strange)}; learn it again")
        members = {name: known[member["kind"]].restored(member) for name, member in kept["members"].items()}
        floors, recent = list(kept["floors"]), int(kept["recent"])
        ensemble = cls(kept["names"], floors, recent=recent, members=members, steady=bool(kept["steady"]))
        one = next(iter(members.values())).levels
        for name in ("median", "mean", "spread"):
            setattr(ensemble.levels, name, getattr(one, name))
        ensemble.tails = {name: Tail(*tail) for name, tail in kept["tails"].items()}
        ensemble.weights, ensemble.threshold = dict(kept["weights"]), float(kept["threshold"])
        ensemble.before, ensemble.version = kept["before"], str(kept["version"])
        return ensemble

    @property
    def _reach(self) -> int:
        held = math.ceil(_FORGOTTEN * HALF_LIFE) if self.steady else 0
        return max(member.reach for member in self.members.values()) + held

    def _levels_for(self, member: RowDetector) -> Levels:
        """The ensemble's levels, with the member's own wish for a recent one."""
        levels = Levels(list(self.levels.floors), member.levels.recent)
        levels.median, levels.mean, levels.spread = self.levels.median, self.levels.mean, self.levels.spread
        return levels

    def _deviations(self, rows: Floats, before: Floats | None) -> tuple[Floats, Floats, int]:
        """Plain and settled deviations of the rows and of what their score depends on, and how many rows there are."""
        self._refuse_unlearned()
        self.refuse_unusable(rows)
        earlier = self.before if before is None else before
        self._check_shape(earlier)
        whole = self.levels.filled(np.concatenate([earlier, rows]))
        plain, start = self.levels.plain(whole), max(len(earlier) - self._reach, 0)
        return plain[start:], self.levels.settled(whole, plain, start), len(rows)

    def _refuse_unlearned(self) -> None:
        if not self.tails:
            raise ModelError("the ensemble has learned nothing yet; call fit() first")


def joined(surprises: Mapping[str, Floats], weights: Mapping[str, float], *, steady: bool) -> Floats:
    """One voice from the members' surprises, (rows,); steady: what lasts counts more than what passes.

    The mean is geometric: one member that is beside itself does not outvote the others.
    """
    total = sum(weights[name] for name in surprises)
    mean: Floats = np.expm1(np.asarray(sum(weights[name] / total * np.log1p(each) for name, each in surprises.items())))
    return np.asarray(np.maximum(mean, HELD * running_mean(mean, HALF_LIFE))) if steady else mean


def running_mean(values: Floats, half_life: float) -> Floats:
    """The mean of each value and those before it, (rows,), where a value counts half after `half_life` rows."""
    if len(values) == 0:
        return values
    keep = 0.5 ** (1 / half_life)
    found = np.empty(len(values))
    mean = float(values[0])
    for place, value in enumerate(values.tolist()):
        mean = keep * mean + (1 - keep) * value
        found[place] = mean
    return found


def agreement(surprises: Mapping[str, Floats]) -> dict[str, float]:
    """Per member the mean correlation of ranks with the others, at least 0.05."""
    if len(surprises) == 1:
        return dict.fromkeys(surprises, 1.0)
    ranks = np.array([np.argsort(np.argsort(each)) for each in surprises.values()], dtype=np.float64)
    alike: Floats = np.asarray(np.corrcoef(ranks))
    means = (alike.sum(axis=1) - 1) / (len(alike) - 1)
    return {name: max(float(mean), 0.05) for name, mean in zip(surprises, means, strict=True)}
