"""What feeds what: the graph in which a cause is looked for. Pure; built from a tenant's entities."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from tonewatch.records import Entity


class Topology:
    """The directed graph of a platform, from sources to channels.

    A part that belongs to one channel cannot reach a part of another, although both pass through shared parts.
    Unknown entities stand alone: they reach themselves only.

    >>> chain = [Entity("component:a", "transcode", feeds=("component:b",)), Entity("component:b", "package")]
    >>> Topology(chain).path("component:a", "component:b")
    ('component:a', 'component:b')
    """

    def __init__(self, entities: Iterable[Entity]) -> None:
        self.entities: Mapping[str, Entity] = {entity.id: entity for entity in entities}
        self._feeds: dict[str, dict[str, None]] = {entity: {} for entity in self.entities}
        for entity in self.entities.values():
            self._feeds[entity.id].update(dict.fromkeys(entity.feeds))
            for origin in entity.depends_on:
                self._feeds.setdefault(origin, {})[entity.id] = None

    def stage(self, entity: str) -> str | None:
        """The stage of `entity`, or None when it is unknown."""
        known = self.entities.get(entity)
        return known.stage if known else None

    def channel(self, entity: str) -> str | None:
        """The channel that `entity` serves alone, or None when it serves all."""
        if entity.startswith("channel:"):
            return entity
        known = self.entities.get(entity)
        return known.labels.get("channel") if known else None

    def channels(self) -> list[str]:
        """All channels, by name."""
        return sorted(entity for entity in self.entities if entity.startswith("channel:"))

    def parts(self) -> list[str]:
        """The components and edges: what runs somewhere, in the order in which the platform names it."""
        return [entity for entity in self.entities if entity.partition(":")[0] in {"component", "edge"}]

    def path(self, start: str, goal: str, avoiding: str | None = None) -> tuple[str, ...]:
        """The shortest way by which `start` feeds `goal`, both included; empty when there is none.

        `avoiding`: an entity that the way may not pass.
        """
        channel = self.channel(start) or self.channel(goal)
        came_from: dict[str, str | None] = {start: None}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            if here == goal:
                return self._unwind(came_from, goal)
            for following in self._feeds.get(here, ()):
                passable = channel is None or self.channel(following) in (None, channel)
                if passable and following != avoiding and following not in came_from:
                    came_from[following] = here
                    queue.append(following)
        return ()

    def cuts(self, entity: str, goal: str) -> bool:
        """Whether nothing that begins elsewhere reaches `goal` without passing `entity`."""
        fed = {fed for feeds in self._feeds.values() for fed in feeds}
        beginnings = [each for each in self.entities if each not in fed and each != entity]
        return not any(self.path(start, goal, avoiding=entity) for start in beginnings)

    def reaches(self, start: str, goal: str) -> bool:
        """Whether what happens to `start` can be felt at `goal`."""
        return bool(self.path(start, goal))

    def related(self, one: str, other: str) -> bool:
        """Whether one of the two feeds the other."""
        return self.reaches(one, other) or self.reaches(other, one)

    def felt_by(self, entity: str) -> list[str]:
        """The channels whose listeners hear it when `entity` fails."""
        return [channel for channel in self.channels() if self.reaches(entity, channel)]

    @staticmethod
    def _unwind(came_from: Mapping[str, str | None], goal: str) -> tuple[str, ...]:
        steps: list[str] = []
        at: str | None = goal
        while at is not None:
            steps.append(at)
            at = came_from[at]
        return tuple(reversed(steps))
