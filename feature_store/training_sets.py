"""Training sets: labels and their features under a name, with a hash that proves them and the way to make them again.

A set sees only rows that were there when it was made, so that it can be made again afterwards, bit for bit, for as long
as the rows are kept; late samples then make another version of the set, never another content of this one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from feature_store.offline import Joined, Labels, grid, join
from feature_store.views import View
from tonewatch.clock import moment
from tonewatch.errors import FeatureError
from warehouse import features
from warehouse import training_sets as kept
from warehouse.database import Warehouse
from warehouse.training_sets import TrainingSet

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a set consists of. labels: those that are given, or every window of `entities` within (start, end].

    known: features as they were known at each label's time; ttl: another than the view's, for given labels.
    """

    view: View
    labels: Labels
    known: bool = False
    ttl: timedelta | None = None


def windows_of(view: View, entities: Sequence[str], start: datetime, end: datetime) -> Recipe:
    """Every window of the entities that lies within (start, end]: what a detector learns from."""
    return Recipe(view, grid(view, entities, start, end), ttl=timedelta(microseconds=1))


async def build(
    tenant: str, warehouse: Warehouse, name: str, recipe: Recipe, now: datetime
) -> tuple[TrainingSet, Joined]:
    """Join the labels and keep what was joined as the next version of `name`; what is the same stays one version.

    Raises FeatureError: no name for a set, no label, a label after `now`, no label with a row, or no rows of the view
    as it is defined now.
    """
    if not NAME.fullmatch(name):
        raise FeatureError(f"{name!r} is no name for a training set: 1 to 80 of a-z, 0-9 and -")
    started, ended = recipe.labels.span
    if ended > now:
        raise FeatureError(f"a label of {ended.isoformat()} lies after now, {now.isoformat()}: nothing is known of it")
    async with warehouse.as_tenant(tenant) as db:
        # What counts as created by now is committed then; what is written later counts as created later.
        await features.in_turn(tenant, db)
    async with warehouse.as_tenant(tenant) as db:
        joined = await join(tenant, db, recipe.view, recipe.labels, ttl=recipe.ttl, known=recipe.known, created_by=now)
        if not joined.found.any():
            raise FeatureError(
                f"no label from {started.isoformat()} to {ended.isoformat()} has a row of {recipe.view.name}: "
                "make them (`tonewatch features materialize --since ...`), or see whether the entities are right"
            )
        made = TrainingSet(
            name=name,
            version=0,
            hash=content_hash(joined),
            view=recipe.view.id,
            definition=recipe.view.definition,
            started=started,
            ended=ended,
            labels=len(recipe.labels),
            found=int(joined.found.sum()),
            entities=_entities(joined),
            sources=_sources(joined),
            request=_request(recipe),
            made=now,
        )
        return await kept.put(tenant, db, made), joined


async def again(tenant: str, warehouse: Warehouse, made: TrainingSet, recipe: Recipe) -> Joined:
    """The content of a set that was made before, proven by its hash.

    Raises FeatureError: another recipe or definition than it was made by, or its rows are not what they were (their
    retention has ended, or somebody has changed them).
    """
    if (made.view, made.request) != (recipe.view.id, _request(recipe)):
        raise FeatureError(f"{made.name} version {made.version} was made by another recipe or another definition")
    async with warehouse.as_tenant(tenant) as db:
        joined = await join(
            tenant, db, recipe.view, recipe.labels, ttl=recipe.ttl, known=recipe.known, created_by=made.made
        )
    if content_hash(joined) != made.hash:
        raise FeatureError(
            f"{made.name} version {made.version} cannot be made again: {int(joined.found.sum())} of {made.found} rows "
            "are there and their hash is another; their retention has ended, or they were changed"
        )
    return joined


def content_hash(joined: Joined) -> str:
    """A hash over the view, the labels, and which row each got with which numbers, bit for bit."""
    content = hashlib.blake2b(digest_size=16)
    content.update(repr((joined.view.id, joined.view.names, joined.labels.names)).encode())
    for column in (joined.labels.places, joined.labels.times, joined.times):
        content.update(np.ascontiguousarray(column, "<i8").tobytes())
    for numbers in (joined.coverage, joined.values):
        content.update(np.ascontiguousarray(numbers, "<f8").tobytes())
    return content.hexdigest()


def _entities(joined: Joined) -> tuple[str, ...]:
    without = frozenset(joined.without)
    return tuple(sorted(name for name in joined.labels.names if name not in without))


def _sources(joined: Joined) -> dict[str, Any]:
    """Which rows it was made of: the rows' own range, and that of the samples in their windows."""
    times, created = joined.times[joined.found], joined.created[joined.found]
    first, last = moment(int(times.min())), moment(int(times.max()))
    window = timedelta(seconds=joined.view.seconds)
    rows = len(np.unique(np.column_stack((joined.labels.places[joined.found], times)), axis=0))
    return {
        "feature_row": {
            "rows": rows,
            "first": first.isoformat(),
            "last": last.isoformat(),
            "created": moment(int(created.max())).isoformat(),
        },
        "sample": {"after": (first - window).isoformat(), "last": last.isoformat()},
    }


def _request(recipe: Recipe) -> dict[str, Any]:
    labels = hashlib.blake2b(repr(recipe.labels.names).encode(), digest_size=16)
    for column in (recipe.labels.places, recipe.labels.times):
        labels.update(np.ascontiguousarray(column, "<i8").tobytes())
    ttl = recipe.view.ttl if recipe.ttl is None else recipe.ttl
    return {"labels": labels.hexdigest(), "known": recipe.known, "ttl_seconds": ttl.total_seconds()}
