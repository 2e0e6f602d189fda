"""Kinds of model for component families, a file each: how one is made, packed and unpacked.

A file of this folder with a `KIND` is a kind; nothing else has to be told of it. A model is registered as
`<family>-<kind>`. In our own rows a version is `<kind>/<number>`; of isolation forests, the first kind, `<number>`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from ml.kinds.base import Kind
from tonewatch.errors import ModelError

DEFAULT = "isolation-forest"


@cache
def kinds() -> dict[str, Kind]:
    """Every kind by its name."""
    found: dict[str, Kind] = {}
    for each in sorted(module.name for module in iter_modules(__path__)):
        kind = getattr(import_module(f"{__name__}.{each}"), "KIND", None)
        if kind is not None:
            found[kind.name] = kind
    return found


def kind_of(name: str) -> Kind:
    """The kind of that name. Raises ModelError: there is none."""
    if name not in kinds():
        raise ModelError(f"there is no kind of model {name!r}; kinds are {', '.join(kinds())}")
    return kinds()[name]


def model_name(family: str, kind: str = DEFAULT) -> str:
    """The name under which a family's models of a kind are registered."""
    return f"{family}-{kind}"


def family_and_kind(registered: str) -> tuple[str, str] | None:
    """What a registered model's name says; None: it is no model of ours."""
    for kind in kinds():
        if registered.endswith(f"-{kind}"):
            return registered.removesuffix(f"-{kind}"), kind
    return None


def told(kind: str, number: str) -> str:
    """A version in our own rows."""
    return number if kind == DEFAULT else f"{kind}/{number}"


def parsed(version: str) -> tuple[str, str]:
    """Kind and number of a version in our own rows. Raises ModelError: there is no such kind."""
    kind, _, number = version.rpartition("/")
    return kind_of(kind or DEFAULT).name, number
