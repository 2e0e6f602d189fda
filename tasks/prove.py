"""Proving: what was learned passes the offline gate, or is refused with the figures that say why.

At the page budget on the held-out calm it must not open more incidents than the champion or the budget, and of the
anomalies that are injected into copies of that calm it must not miss more than chance would have it. Without a champion
it must be able to find any, where that can be asked.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from feature_store.contracts import contract
from feature_store.definitions import floors
from feature_store.views import view
from ml import gate
from ml.calibration import Budget, Calibration, Calm, calibrate
from ml.champion import scoring
from ml.detectors.base import Floats
from ml.detectors.family import FamilyDetector
from ml.kinds import kind_of, parsed
from tasks.detect import NOTABLE
from tasks.fetch import fetch
from tasks.train import Lesson, Stretch, budget_of, notable_matrix, score_matrix, strands_of
from tonewatch.errors import ModelFails, ModelUnfit
from tonewatch.settings import Profile
from warehouse.calibrations import model_version

log = logging.getLogger(__name__)
#: Of the calm, for a threshold of the gate's.
RESAMPLES = 60
#: How the reason ends where nothing was compared.
ALONE = "; there is no champion"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says. champion: the version that it was compared with; "": there is none. silent: why that version
    cannot score here, so that nothing was compared; "": it can.
    """

    passed: bool
    reason: str
    champion: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    silent: str = ""

    @property
    def word(self) -> str:
        """Of the version, as a tag."""
        return "passed" if self.passed else "failed"

    @property
    def standing(self) -> str:
        """What becomes of the version: the first of a family that passes need not wait."""
        if not self.passed:
            return "refused"
        return "challenger" if self.champion else "champion"


@dataclass(frozen=True, slots=True)
class Rival:
    """Whom what is learned is held against. version: of the family's champion, "": there is none; detector: None: it
    cannot score here, and `why`.
    """

    version: str = ""
    detector: FamilyDetector | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Side:
    """A model on the held-out calm at the budget: its threshold there, and the incidents that it opens."""

    detector: FamilyDetector
    threshold: float
    pages: float


def prove(
    lesson: Lesson,
    calibration: Calibration,
    champion: FamilyDetector | None,
    stretch: Stretch,
    groups: Sequence[int],
    families: int,
    *,
    seed: int,
) -> Verdict:
    """Hold what was learned of a family against its champion; one that fails is no rival (`beside`).

    groups: as in ml.calibration.Calm, of the lesson's entities; families: how many share the budget. Judged is the
    detector that has not seen the held-out half; a champion may have: that is to its advantage.
    """
    if champion is not None:
        try:
            return _held_against(champion, lesson, stretch, groups, families, seed=seed)
        except ModelFails as error:
            log.warning("the champion of %s is no rival: %s", lesson.family, error)
    return _first(lesson, calibration, stretch, seed=seed)


def _first(lesson: Lesson, calibration: Calibration, stretch: Stretch, *, seed: int) -> Verdict:
    run, threshold = budget_of(stretch.profile).run, calibration.thresholds[lesson.family].value
    anomalies = _anomalies(lesson, stretch, lesson.pupil.looks_back, seed=seed)
    if anomalies is None:  # with a threshold that calm has set it is better than none
        return Verdict(True, f"{_nothing_in(run)}; there is no champion")
    met = gate.found(lesson.pupil, threshold, NOTABLE, anomalies, run)
    figures = _recall("gate_recall", met)
    if not met.any():
        return Verdict(False, f"finds none of {len(met)} injected anomalies", figures=figures)
    return Verdict(True, f"finds {met.sum()} of {len(met)} injected anomalies; there is no champion", "", figures)


def _held_against(
    champion: FamilyDetector, lesson: Lesson, stretch: Stretch, groups: Sequence[int], families: int, *, seed: int
) -> Verdict:
    """Raises ModelFails: the champion does; ModelError: too little calm to set a threshold for one of them."""
    share, run = budget_of(stretch.profile, 1 / max(families, 1)), budget_of(stretch.profile).run
    told = lesson.scores, notable_matrix(lesson.pupil, lesson.held_out)
    mine = _side(lesson.pupil, told, lesson, stretch, groups, share, seed)
    with scoring(lesson.family, champion.version):
        scored = score_matrix(champion, lesson.held_out, stretch.phases), notable_matrix(champion, lesson.held_out)
    theirs = _side(champion, scored, lesson, stretch, groups, share, seed)
    anomalies = _anomalies(lesson, stretch, max(lesson.pupil.looks_back, champion.looks_back), seed=seed)
    if anomalies is None:  # what would replace one must be proved
        return Verdict(False, _nothing_in(run))
    its = gate.found(mine.detector, mine.threshold, NOTABLE, anomalies, run)
    with scoring(lesson.family, champion.version):
        his = gate.found(champion, theirs.threshold, NOTABLE, anomalies, run)
    seconds = lesson.scores.shape[1] / stretch.phases * share.tick_seconds
    return _compared(mine, theirs, (its, his), champion.version, allowed(share, seconds))


def _anomalies(lesson: Lesson, stretch: Stretch, before: int, *, seed: int) -> gate.Anomalies | None:
    calm = strands_of(lesson.pupil, lesson.held_out, stretch.phases)
    bounds, run = bounds_of(lesson.family, stretch.profile), budget_of(stretch.profile).run
    return gate.inject(calm, bounds, run, before, seed=seed)


def _nothing_in(run: int) -> str:
    return f"the held-out calm has no {run} ticks in a row in which anything could be found"


def _compared(mine: _Side, theirs: _Side, flags: Sequence[gate.Flags], version: str, allowed: float) -> Verdict:
    by_chance = gate.worse(flags[0], flags[1])
    figures = {
        **_recall("gate_recall", flags[0]),
        **_recall("gate_recall_champion", flags[1]),
        "gate_by_chance": by_chance,
        **_count("gate_pages", mine.pages),
        **_count("gate_pages_champion", theirs.pages),
        "gate_pages_allowed": allowed,
    }
    told = f"finds {flags[0].sum()} of {len(flags[0])} injected anomalies, the champion {version} {flags[1].sum()}"
    pages = f"{mine.pages:g} incidents on the held-out calm, the champion {theirs.pages:g}"
    if by_chance < gate.CHANCE:
        return Verdict(False, f"{told}: fewer, by chance in {by_chance:.1%} of cases", version, figures)
    if mine.pages > max(theirs.pages, allowed):
        return Verdict(False, f"opens {pages}, {allowed:.2g} are allowed", version, figures)
    return Verdict(True, f"{told}; {pages}", version, figures)


def _recall(name: str, flags: gate.Flags) -> dict[str, float]:
    low, high = gate.recall_interval(flags)
    return {name: float(flags.mean()), f"{name}_low": low, f"{name}_high": high}


def _count(name: str, pages: float) -> dict[str, float]:
    low, high = gate.count_interval(pages)
    return {name: pages, f"{name}_low": low, f"{name}_high": high}


def _side(
    detector: FamilyDetector,
    told: tuple[Floats, gate.Flags],
    lesson: Lesson,
    stretch: Stretch,
    groups: Sequence[int],
    budget: Budget,
    seed: int,
) -> _Side:
    """told: what it says of the held-out calm, as score_matrix and notable_matrix have it. Raises ModelError: that is
    too short to set a threshold on.
    """
    calm = {lesson.family: Calm(*told, groups)}
    found = calibrate(calm, budget, phases=stretch.phases, resamples=RESAMPLES, seed=seed)
    return _Side(detector, found.thresholds[lesson.family].value, found.seen)


def allowed(budget: Budget, seconds: float) -> float:
    """Incidents that the budget allows in so long a stretch."""
    return float(budget.pages_per_week * seconds / budget.week_seconds)


def bounds_of(family: str, profile: Profile) -> gate.Bounds:
    """What the contract of the family's view allows its features."""
    promises = contract(view(family, profile)).promises
    low, high = (np.array(ends) for ends in zip(*((each.low, each.high) for each in promises), strict=True))
    return gate.Bounds(low, high, np.array(floors(family)))


def rival_of(tracking_uri: str, family: str, retired: Collection[str] = ()) -> Rival:
    """The family's champion, whoever trained it. It cannot score where it was trained on other features, its artefact
    is damaged, or it is one of `retired`, as findings call them.

    It blocks for seconds. Raises ModelError: MLflow is away, or the champion's kind cannot be used on this machine.
    """
    from ml import registry

    version = registry.champion_versions(tracking_uri).get(family)
    if version is None:
        return Rival()
    if model_version(family, version) in retired:
        return Rival(version, None, "it is retired")
    kind_of(parsed(version)[0]).refuse_missing()
    try:
        return Rival(version, fetch(tracking_uri, family, version).detector)
    except ModelUnfit as error:  # of another error the champion knows nothing: it stays, and the training fails
        log.warning("the champion of %s is no rival: %s", family, error)
        return Rival(version, None, str(error))


def beside(rival: Rival, verdict: Verdict) -> Verdict:
    """The verdict of `prove`, where the champion could not be asked: a family that has one has no first model, and what
    passes takes its place by no training, but by the way of all promotions.
    """
    asked = verdict.champion or (rival.detector is not None and not verdict.passed)
    if not rival.version or asked:
        return verdict
    why = f"the champion {rival.version} cannot score here: {rival.why or 'it fails on the held-out calm'}"
    reason = f"{verdict.reason.removesuffix(ALONE)}; {why}"
    return replace(verdict, reason=reason, champion=rival.version, silent=why)
