"""Views: a family's features over windows of one length, with all that makes two of their rows comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import timedelta
from functools import cached_property

from feature_store.definitions import FAMILIES, Feature, features
from tonewatch.errors import FeatureError
from tonewatch.records import digest
from tonewatch.settings import Profile
from warehouse.features import StoredView

#: Who answers for a family's features: the crew of that part of the chain.
OWNERS = {
    "source": "contribution",
    "ingest": "contribution",
    "transcode": "encoding",
    "package": "encoding",
    "origin": "delivery",
    "edge": "delivery",
    "rendition": "delivery",
}
#: Windows that may lie between what a row tells of and the moment it is joined to.
REACH = 5
#: A row older than this tells nothing of now: rows are made once an hour (deployments/prefect.yaml).
FRESH = timedelta(hours=2)


@dataclass(frozen=True)
class View:
    """Columns of one kind of entity. The event time of a row is its window's end, (end - seconds, end].

    entity: the stage of the entities that it describes; seconds: length of a window; every: seconds between two samples
    as configured, which coverage is measured against; ttl: a row that ended so long before a moment, or longer, is not
    joined to it; fresh: an online reader gets no row that is older.
    """

    name: str
    entity: str
    features: tuple[Feature, ...]
    seconds: float
    every: float
    owner: str
    ttl: timedelta
    fresh: timedelta = FRESH

    @property
    def version(self) -> int:
        """The highest version among the features."""
        return max(feature.version for feature in self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the order of the columns."""
        return tuple(feature.name for feature in self.features)

    @property
    def units(self) -> tuple[str, ...]:
        """The features' units, in the same order."""
        return tuple(feature.unit for feature in self.features)

    @cached_property
    def definition(self) -> str:
        """A hash of the definitions, equal to `definitions.fingerprint` of the family."""
        return digest(*(astuple(feature) for feature in self.features))

    @cached_property
    def id(self) -> int:
        """63 bits that differ when anything differs that a row's numbers depend on."""
        return int(digest(self.name, self.definition, self.seconds, self.every)[:16], 16) >> 1

    @property
    def stored(self) -> StoredView:
        """What the warehouse keeps of it."""
        return StoredView(
            self.id, self.name, self.definition, self.seconds, self.every, self.names, self.units, self.owner
        )


def view(name: str, profile: Profile) -> View:
    """The view `name`, with windows as the profile has them.

    Raises FeatureError: no such view.
    """
    if name not in FAMILIES:
        raise FeatureError(f"there is no view {name!r}; views are {', '.join(FAMILIES)}")
    seconds = profile.window_seconds
    return View(
        name=name,
        entity=name,
        features=features(name),
        seconds=seconds,
        every=profile.scrape_seconds,
        owner=OWNERS[name],
        ttl=timedelta(seconds=REACH * seconds),
    )


def views(profile: Profile) -> list[View]:
    """All views, with windows as the profile has them."""
    return [view(name, profile) for name in FAMILIES]


def refuse_other(wanted: View, kept: Sequence[StoredView]) -> None:
    """Raise FeatureError unless rows of this very view are kept; the message says which are."""
    if any(each.id == wanted.id for each in kept):
        return
    others = [
        f"{each.definition[:8]} with windows of {each.window_seconds:g} s, a sample every {each.every_seconds:g} s"
        for each in kept
        if each.name == wanted.name
    ]
    mine = f"{wanted.definition[:8]} with windows of {wanted.seconds:g} s, a sample every {wanted.every:g} s"
    raise FeatureError(
        f"there are no rows of the view {wanted.name} as it is defined now ({mine}); there are "
        f"{'rows of ' + '; '.join(others) if others else 'none of it at all'}. "
        "Make them: `tonewatch features materialize`"
    )
