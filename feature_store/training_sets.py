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
from feature_store.windows import FeatureFrame
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


async def of_windows(
    tenant: str,
    warehouse: Warehouse,
    name: str,
    view: View,
    frames: Sequence[FeatureFrame],
    step: timedelta,
    now: datetime,
) -> TrainingSet:
    """Keep what a model was taught with: windows `step` apart, read from samples by `history.judged_windows`.

    Those that lie on the view's own grid are bit for bit what `offline.frame` gives. The same windows stay one version.
    Raises FeatureError: no name for a set, or no window that holds a sample.
    """
    if not NAME.fullmatch(name):
        raise FeatureError(f"{name!r} is no name for a training set: 1 to 80 of a-z, 0-9 and -")
    held = [(entity, end) for each in frames for entity, end in _held(each)]
    if not held:
        raise FeatureError(f"no window of {view.name} holds a sample: there is nothing to learn from")
    ends = sorted({end for _, end in held})
    span = {"first": ends[0].isoformat(), "last": ends[-1].isoformat()}
    made = TrainingSet(
        name=name,
        version=0,
        hash=frames_hash(frames),
        view=view.id,
        definition=view.definition,
        started=min(each.ends[0] for each in frames),
        ended=max(each.ends[-1] for each in frames),
        labels=sum(len(each.ends) for each in frames),
        found=len(held),
        entities=tuple(sorted({entity for entity, _ in held})),
        sources={
            "window": {"rows": len(held)} | span,
            "sample": {"after": (ends[0] - timedelta(seconds=view.seconds)).isoformat(), "last": span["last"]},
        },
        request={"windows_apart_seconds": step.total_seconds(), "parts": len(frames)},
        made=now,
    )
    async with warehouse.as_tenant(tenant) as db:
        await features.put_view(tenant, db, view.stored, now)
        return await kept.put(tenant, db, made)


def _held(frame: FeatureFrame) -> list[tuple[str, datetime]]:
    told = zip(frame.entities, frame.ends, frame.coverage.tolist(), strict=True)
    return [(entity, end) for entity, end, share in told if share > 0]


def frames_hash(frames: Sequence[FeatureFrame]) -> str:
    """A hash over entities, ends, features and numbers, bit for bit."""
    content = hashlib.blake2b(digest_size=16)
    for frame in frames:
        content.update(repr((frame.entities, [end.isoformat() for end in frame.ends], frame.names)).encode())
        content.update(np.ascontiguousarray(frame.values).tobytes())
        content.update(np.ascontiguousarray(frame.coverage).tobytes())
    return content.hexdigest()


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
