"""Fetches the models that may judge: each family's champion, by the tenant's own threshold for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from feature_store import definitions
from ml.champion import Champion, Failing, scoring
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import ModelError, ModelFails, ModelUnfit
from warehouse.calibrations import Calibrated, model_version

if TYPE_CHECKING:
    from ml.registry import Registered  # its module imports mlflow

log = logging.getLogger("tonewatch.watch")
#: A model that could not be used is tried again after so long: its library may have been changed meanwhile.
AGAIN_SECONDS = 300.0


def fetch(tracking_uri: str, family: str, version: str) -> Registered:
    """A version that can score by the features as they are defined now. It blocks for seconds. Raises as
    ml.registry.fetch does.
    """
    from ml import registry  # imports mlflow: seconds that are only paid where a model is fetched

    return registry.fetch(tracking_uri, family, version, **_features(family))


class _Features(TypedDict):
    names: Sequence[str]
    fingerprint: str


def _features(family: str) -> _Features:
    """What a model must have been trained on."""
    return {"names": definitions.names(family), "fingerprint": definitions.fingerprint(family)}


def unfit(tracking_uri: str, family: str, version: str) -> str:
    """Why the version cannot score here as features are defined now; empty: it can. It blocks for seconds.

    Raises ModelError: MLflow is away.
    """
    try:
        fetch(tracking_uri, family, version)
    except ModelUnfit as error:
        return str(error)
    return ""


def own_of(mine: Sequence[Calibrated], family: str, version: str) -> Calibrated | None:
    """What the tenant's calm made of that version; None: nothing."""
    return next((each for each in mine if (each.family, each.version) == (family, version)), None)


def judge_for(tenant: str | None, family: str, model: Registered, own: Calibrated | None) -> Champion | None:
    """The model as it judges for the tenant (None: a replay's); None: the tenant has no threshold for it."""
    if own is not None:
        return Champion(family, model.detector, own.threshold, own.rate)
    tags = model.tags
    if tenant in (None, tags.get("tenant")):  # trained before thresholds were rows
        return Champion(family, model.detector, float(tags["threshold"]), float(tags["rate"]))
    return None


class Bench:
    """The models that were fetched for a tenant; those that have not changed are kept as they are.

    tenant: whose; None: a replay's, which judges by the thresholds that their training's tenant had. failing: who would
    judge for the tenant, cannot score, and has nobody in his place, as `champions` found them last. folder: of the
    tenant's alone, in which those that judge are kept for whoever starts while MLflow is away (ml/kept.py); None:
    they are not.
    """

    def __init__(
        self, tenant: str | None, tracking_uri: str, folder: Path | None = None, clock: Clock = SYSTEM
    ) -> None:
        self.tenant, self.tracking_uri, self.folder, self.clock = tenant, tracking_uri, folder, clock
        self.failing: list[Failing] = []
        self._held: dict[str, Champion] = {}
        self._noted: tuple[Mapping[str, str], Mapping[str, Sequence[str]]] | None = None
        self._told: set[tuple[str, str]] = set()
        self._unusable: dict[tuple[str, ...], tuple[float, str]] = {}

    def champions(self, mine: Sequence[Calibrated], retired: Collection[str] = ()) -> dict[str, Champion]:
        """Each family's judge. `mine`: the tenant's thresholds that hold; retired: versions that may score no more.

        The registry's champion; where the tenant has no threshold for that version, because another tenant's calm made
        it, the last champion that its own calm was calibrated for: a challenger judges nothing. A model that does not
        fit today's features, or fails at its first score, scores nothing, and takes no other family's model with it:
        the one that was held scores on, and is tried again after AGAIN_SECONDS. Where MLflow is away so do all. Who has
        just started goes in either case by those that are kept. What is given is whole: read from a folder of its own,
        whose hash was verified.
        It blocks for seconds: call it in a thread. Raises ModelError: MLflow is away, and nothing is held or kept.
        """
        from ml import kept, registry  # imports mlflow: seconds that are only paid where a model may score

        try:
            judging = registry.champion_versions(self.tracking_uri)
        except ModelError as error:
            families = {*self._held, *(kept.judging(self.folder) if self.folder else ())}
            held = {family: self._still(family, mine, retired) for family in sorted(families)}
            if not any(held.values()) and not self._held:  # what is held and retired since must not go on
                raise
            log.warning("the models that are held score on: %s", error)
            return {family: champion for family, champion in held.items() if champion is not None}
        found: dict[str, Champion] = {}
        failing: list[Failing] = []
        silent: list[str] = []
        for family, newest in judging.items():
            own = [each for each in mine if each.family == family and each.model_version not in retired]
            version, fit = newest, None
            try:
                fit = own_of(own, family, newest) or self._before(family, own)
                if fit is None and model_version(family, newest) in retired:
                    log.warning("the model of %s is retired: it is not judged until it is trained again", family)
                    continue
                version = fit.version if fit else newest
                champion = self._champion(family, version, fit)
            except ModelError as error:
                unusable = isinstance(error, ModelUnfit | ModelFails)
                champion = self._still(family, mine, retired)
                on = f"{champion.version} scores on" if champion else "nothing scores"
                log.warning("the model of %s is not used, %s: %s", family, on, error)
                if champion is None:
                    silent.append(family)
                if champion is None and fit is not None and unusable:
                    failing.append(Failing(family, version, str(error)))
            if champion is not None:
                found[family] = champion
        self._held, self.failing = found, failing
        self._keep({family: champion.version for family, champion in found.items()}, silent, retired)
        return dict(found)

    def _before(self, family: str, own: Sequence[Calibrated]) -> Calibrated | None:
        """Of the versions that the tenant's calm was calibrated for the last that has been champion; None: none has."""
        from ml import registry

        newest_first = sorted(own, key=lambda each: each.made, reverse=True)
        return next((one for one in newest_first if registry.has_judged(self.tracking_uri, family, one.version)), None)

    def _still(self, family: str, mine: Sequence[Calibrated], retired: Collection[str]) -> Champion | None:
        """The one that is held, else the last that was kept, by the threshold that holds now.

        None: there is none, or it may score no more.
        """
        held = self._held.get(family)
        if held is None or model_version(family, held.version) in retired:
            return self._kept(family, mine, retired)
        own = own_of(mine, family, held.version)
        return held if own is None else replace(held, threshold=own.threshold, rate=own.rate)

    def _kept(self, family: str, mine: Sequence[Calibrated], retired: Collection[str]) -> Champion | None:
        """The last that has judged of those that are kept, and can; held from now on. None: none can."""
        from ml import kept, registry

        if self.folder is None:
            return None
        for version in kept.judging(self.folder).get(family, ()):
            if model_version(family, version) in retired:
                continue
            try:
                with self._not_again(family, version, "kept"):
                    read = registry.fetch_kept(self.tracking_uri, self.folder, family, version, **_features(family))
                    champion = self._tried(family, read, own_of(mine, family, version))
                    if champion is None:
                        raise ModelUnfit(f"version {version} has no threshold of {self.tenant}")
            except ModelError as error:
                log.warning("what is kept of %s is not used: %s", family, error)
                continue
            self._held[family] = champion
            return champion
        return None

    def _keep(self, judges: Mapping[str, str], silent: Sequence[str], retired: Collection[str]) -> None:
        """Note who judges, where that has changed or something was kept, and remove what is not needed any more.

        silent: families whose champion cannot be used, in whose place none judges now: what is kept of them stays.
        """
        from ml import kept

        if self.folder is None:
            return
        before = kept.judging(self.folder) if silent else {}
        stay = {
            family: [each for each in before.get(family, ()) if model_version(family, each) not in retired]
            for family in silent
        }
        if (judges, stay) == self._noted:
            return
        self._noted = judges, stay
        try:
            kept.note(self.folder, judges, stay)
        except OSError as error:  # they judge all the same
            log.warning("who judges is not kept in %s: %s", self.folder, error)

    def judge(self, family: str, version: str, mine: Sequence[Calibrated]) -> Champion | None:
        """That version, as it would judge for the tenant; None: the tenant's calm has set no threshold for it.

        It blocks as `champions` does. Raises ModelError: it does not fit today's features, or fails at its first score,
        or MLflow is away.
        """
        return self._champion(family, version, own_of(mine, family, version))

    def _champion(self, family: str, version: str, fit: Calibrated | None) -> Champion | None:
        held = self._held.get(family)
        if held is not None and held.version == version:
            return replace(held, threshold=fit.threshold, rate=fit.rate) if fit else held
        if fit is None and (family, version) in self._told:
            return None
        with self._not_again(family, version):
            champion = self._fetched(family, version, fit)
        if champion is not None:
            return champion
        self._told.add((family, version))
        log.warning("%s is not judged: version %s has no threshold of %s yet", family, version, self.tenant)
        return None

    @contextmanager
    def _not_again(self, *what: str) -> Iterator[None]:
        """Around the use of a model: one that cannot be used is not asked again for AGAIN_SECONDS, but raises
        ModelUnfit with the same words.
        """
        at, why = self._unusable.get(what, (-math.inf, ""))
        if self.clock.monotonic() - at < AGAIN_SECONDS:
            raise ModelUnfit(why)
        try:
            yield
        except (ModelUnfit, ModelFails) as error:
            self._unusable[what] = self.clock.monotonic(), str(error)
            raise

    def _fetched(self, family: str, version: str, fit: Calibrated | None) -> Champion | None:
        """As it judges, once it has scored; a copy is kept then."""
        from ml import registry

        with registry.fetched(self.tracking_uri, family, version, **_features(family)) as (model, files):
            champion = self._tried(family, model, fit)
            if champion is not None and self.folder is not None:
                self._noted = None
                registry.keep(self.folder, family, version, model, files)
        return champion

    def _tried(self, family: str, model: Registered, fit: Calibrated | None) -> Champion | None:
        """As `judge_for`, once it has scored: a network is compiled by that, here and not between two ticks."""
        champion = judge_for(self.tenant, family, model, fit)
        if champion is not None:
            with scoring(family, champion.version):
                champion.detector.noticed(1.0)
        return champion
