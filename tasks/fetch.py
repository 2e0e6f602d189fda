"""Fetches the models that may judge: each family's champion, by the tenant's own threshold for it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from feature_store import definitions
from ml.champion import Champion
from tonewatch.errors import ModelError
from warehouse.calibrations import Calibrated, model_version

if TYPE_CHECKING:
    from ml.registry import Registered  # its module imports mlflow

log = logging.getLogger("tonewatch.watch")


def fetch(tracking_uri: str, family: str, version: str) -> Registered:
    """A version that can score by the features as they are defined now. It blocks for seconds. Raises as
    ml.registry.fetch.
    """
    from ml import registry  # imports mlflow: seconds that are only paid where a model is fetched

    names, fingerprint = definitions.names(family), definitions.fingerprint(family)
    return registry.fetch(tracking_uri, family, version, names=names, fingerprint=fingerprint)


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

    tenant: whose; None: a replay's, which judges by the thresholds that their training's tenant had.
    """

    def __init__(self, tenant: str | None, tracking_uri: str) -> None:
        self.tenant, self.tracking_uri = tenant, tracking_uri
        self._held: dict[str, Champion] = {}
        self._told: set[tuple[str, str]] = set()

    def champions(self, mine: Sequence[Calibrated], retired: Collection[str] = ()) -> dict[str, Champion]:
        """Each family's judge. `mine`: the tenant's thresholds that hold; retired: versions that may score no more.

        The registry's champion; where the tenant has no threshold for that version, because another tenant's calm made
        it, the last champion that its own calm was calibrated for: a challenger judges nothing. A model that does not
        fit today's features scores nothing, and takes no other family's model with it: the one that was held scores on,
        as do all where MLflow is away. What is given is whole: read from a folder of its own, whose hash was verified.
        It blocks for seconds: call it in a thread. Raises ModelError: MLflow is away, and nothing is held.
        """
        from ml import registry  # imports mlflow: seconds that are only paid where a model may score

        try:
            judging = registry.champion_versions(self.tracking_uri)
        except ModelError as error:
            held = {family: self._still(family, mine, retired) for family in self._held}
            if not any(held.values()):
                raise
            log.warning("the models that are held score on: %s", error)
            return {family: champion for family, champion in held.items() if champion is not None}
        found: dict[str, Champion] = {}
        for family, newest in judging.items():
            own = [each for each in mine if each.family == family and each.model_version not in retired]
            try:
                fit = own_of(own, family, newest) or self._before(family, own)
                if fit is None and model_version(family, newest) in retired:
                    log.warning("the model of %s is retired: it is not judged until it is trained again", family)
                    continue
                champion = self._champion(family, newest, fit)
            except ModelError as error:
                champion = self._still(family, mine, retired)
                on = f"{champion.version} scores on" if champion else "nothing scores"
                log.warning("the model of %s is not used, %s: %s", family, on, error)
            if champion is not None:
                found[family] = champion
        self._held = found
        return dict(found)

    def _before(self, family: str, own: Sequence[Calibrated]) -> Calibrated | None:
        """Of the versions that the tenant's calm was calibrated for the last that has been champion; None: none has."""
        from ml import registry

        newest_first = sorted(own, key=lambda each: each.made, reverse=True)
        return next((one for one in newest_first if registry.has_judged(self.tracking_uri, family, one.version)), None)

    def _still(self, family: str, mine: Sequence[Calibrated], retired: Collection[str]) -> Champion | None:
        """The one that is held, by the threshold that holds now; None: there is none, or it may score no more."""
        held = self._held.get(family)
        if held is None or model_version(family, held.version) in retired:
            return None
        own = own_of(mine, family, held.version)
        return held if own is None else replace(held, threshold=own.threshold, rate=own.rate)

    def judge(self, family: str, version: str, mine: Sequence[Calibrated]) -> Champion | None:
        """That version, as it would judge for the tenant; None: the tenant's calm has set no threshold for it.

        It blocks as `champions` does. Raises ModelError: it does not fit today's features, or MLflow is away.
        """
        return self._champion(family, version, own_of(mine, family, version))

    def _champion(self, family: str, newest: str, fit: Calibrated | None) -> Champion | None:
        version, held = fit.version if fit else newest, self._held.get(family)
        if held is not None and held.version == version:
            return replace(held, threshold=fit.threshold, rate=fit.rate) if fit else held
        if fit is None and (family, version) in self._told:
            return None
        registered = fetch(self.tracking_uri, family, version)
        registered.detector.noticed(1.0)  # a network is compiled by its first score: here, not between two ticks
        champion = judge_for(self.tenant, family, registered, fit)
        if champion is not None:
            return champion
        self._told.add((family, version))
        log.warning("%s is not judged: version %s has no threshold of %s yet", family, version, self.tenant)
        return None
