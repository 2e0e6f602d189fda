"""Which part of the platform a pushed series belongs to: by its labels, by the tenant's rules, else by its job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from gateway.remote_write import Labelled
from tonewatch.records import ENTITY_ID, Series
from tonewatch.settings import NamingRule

#: A sender that knows our names says so itself, by relabelling.
OWN_LABEL: Final = "tonewatch_entity"
#: Where nothing names a part.
UNNAMED: Final = "service:unnamed"
_LONGEST: Final = 200
_STRANGE: Final = re.compile(r"[^A-Za-z0-9_./-]+")
_PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Naming:
    """The rules of one tenant, in their order; the first that fits names the entity."""

    def __init__(self, rules: Sequence[NamingRule] = ()) -> None:
        self._rules = [(rule, {label: re.compile(pattern) for label, pattern in rule.match.items()}) for rule in rules]

    def series(self, told: Labelled) -> Series:
        """The series as it is stored: all its labels are kept, whatever names the entity."""
        return Series(self.entity(told), told.metric, told.labels, told.unit, told.kind)

    def entity(self, told: Labelled) -> str:
        """The entity's id."""
        labels = dict(told.labels)
        own = labels.get(OWN_LABEL, "")
        if len(own) <= _LONGEST and ENTITY_ID.fullmatch(own):
            return own
        for rule, patterns in self._rules:
            if all(pattern.fullmatch(labels.get(label, "")) for label, pattern in patterns.items()):
                return _filled(rule.entity, labels)
        if labels.get("job") and labels.get("instance"):
            return _filled("component:{job}/{instance}", labels)
        return _filled("service:{job}", labels) if labels.get("job") else UNNAMED


def _filled(template: str, labels: Mapping[str, str]) -> str:
    """The template with each {label} in it replaced; what no entity's id may hold becomes a hyphen."""
    kind, _, name = template.partition(":")
    filled = _PLACE.sub(lambda place: _STRANGE.sub("-", labels.get(place[1], "")), name).strip("-./_")
    return f"{kind}:{filled}"[:_LONGEST] if filled else UNNAMED
