"""What a kind of model is, and how one is written down: plain values and arrays, never pickled objects."""

from __future__ import annotations

import importlib.util
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml.detectors.family import FamilyDetector
from tonewatch.errors import ModelError, ModelUnfit

#: A value that stands for an array: its name among the arrays.
_ARRAY = "array of"


@dataclass(frozen=True, slots=True)
class Packed:
    """A model in parts. state: what JSON can hold, but for arrays; pipeline: of scikit-learn, where it is one."""

    state: Mapping[str, Any]
    pipeline: Any = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model.

    make: for a family's features, their floors and a seed, one that has learned nothing; further settings, by name, are
    those of its space; pack, unpack: what it has
    learned, there and back; format: of what is packed, another is refused; packages: what a reader of it needs, in
    the versions that are installed; needs: the module without which it cannot be used, "" for none; space: by setting
    of `make` the values that a search may try, the default first; params: what else of a detector is worth telling.
    """

    name: str
    title: str
    make: Callable[..., FamilyDetector]
    pack: Callable[[FamilyDetector], Packed]
    unpack: Callable[[Packed], FamilyDetector]
    params: Callable[[FamilyDetector], Mapping[str, str | int | float]]
    packages: tuple[str, ...]
    format: int = 1
    needs: str = ""
    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def settings(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """All settings that its space names: what was chosen, and the defaults."""
        return {name: values[0] for name, values in self.space.items()} | dict(chosen)

    def refuse_missing(self) -> None:
        """Raise ModelError where what it needs is not installed."""
        if self.needs and importlib.util.find_spec(self.needs) is None:
            raise ModelError(
                f"a model of the kind {self.name} needs {self.needs}, which is not installed: make learning"
            )


def written(state: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """JSON, and the arrays that it names as NPZ; the same state gives the same bytes."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    document = json.dumps(_plain(state, arrays), sort_keys=True, indent=1)
    into = io.BytesIO()
    np.savez(into, allow_pickle=False, **arrays)
    return document.encode(), into.getvalue()


def read(document: bytes, arrays: bytes) -> dict[str, Any]:
    """The state that gave them, tuples as lists. Raises ModelUnfit: they are no such files."""
    try:
        with np.load(io.BytesIO(arrays), allow_pickle=False) as held:
            found: dict[str, Any] = _whole(json.loads(document), {name: held[name] for name in held.files})
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ModelUnfit(f"the model's files cannot be read: {error}; train it again") from error
    return found


def _plain(value: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        return {str(key): _plain(each, arrays) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, arrays) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _whole(value: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _whole(each, arrays) for key, each in value.items()}
    return [_whole(each, arrays) for each in value] if isinstance(value, list) else value
