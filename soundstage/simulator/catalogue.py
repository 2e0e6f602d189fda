"""The catalogue of faults: a YAML file each (docs/recordings.md), in soundstage/catalogue and in folders of others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from soundstage.errors import FaultError
from soundstage.simulator.kinds import KINDS, OF_RENDITIONS

OWN = Path(__file__).resolve().parents[1] / "catalogue"
SHAPES = ("spike", "shift", "drift", "variance", "stuck", "dropout", "season")
REACHES = ("series", "entity", "path")
DIRECTIONS = ("worse", "up", "down", "either")
METRICS = frozenset(kind.metric for kinds in (*KINDS.values(), *OF_RENDITIONS.values()) for kind in kinds)
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_MINUTES, _LARGEST = 7 * 24 * 60.0, 1_000.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault.

    shape: how the figures move; reach: one series, one part, or a part and what it feeds. metrics, stages: which may
    be hit, empty for any. direction: `worse` is up for a latency and down for an audience. magnitude: from, to, in
    standard deviations of the figure's own noise (of `variance`: times its noise). minutes: how long, from, to.
    lines: most series of each part. hop_minutes, fading: how much later and by which factor weaker each part
    downstream feels it.
    """

    name: str
    summary: str
    shape: str
    reach: str
    magnitude: tuple[float, float]
    minutes: tuple[float, float]
    metrics: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    direction: str = "either"
    lines: int = 3
    hop_minutes: float = 0.0
    fading: float = 0.8


def load(outside: Path | None = None) -> dict[str, Fault]:
    """Every fault by name. outside: a folder of further files.

    Raises FaultError: a folder or file that cannot be used; it names the file and says what is wrong with it.
    """
    paths = sorted(OWN.glob("*.yaml"))
    if outside is not None:
        if not outside.is_dir():
            raise FaultError(f"{outside}: no such folder of faults")
        others = sorted(outside.glob("*.yaml"))
        if not others:
            raise FaultError(f"{outside}: holds no *.yaml file")
        paths += others
    faults: dict[str, Fault] = {}
    for path in paths:
        fault = _read(path)
        if fault.name in faults:
            raise FaultError(f"{path}: the name '{fault.name}' is taken by another fault")
        faults[fault.name] = fault
    return faults


def chosen(names: tuple[str, ...], outside: Path | None = None) -> list[Fault]:
    """The faults of these names; `all` stands for every one. Raises FaultError as `load`, and for an unknown name."""
    faults = load(outside)
    if names == ("all",):
        return list(faults.values())
    unknown = [name for name in names if name not in faults]
    if unknown:
        raise FaultError(f"no fault '{unknown[0]}'; there are: {', '.join(faults)}")
    return [faults[name] for name in dict.fromkeys(names)]


def _read(path: Path) -> Fault:
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FaultError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FaultError(f"{path}: is no YAML: {error}") from error
    if not isinstance(told, dict):
        raise FaultError(f"{path}: must be a mapping of keys and values, such as `name: level-shift`")
    return _Page(path, told).fault()


class _Page:
    """One file, and what is asked of its values."""

    def __init__(self, path: Path, told: Mapping[Any, Any]) -> None:
        self._path, self._told = path, told

    def fault(self) -> Fault:
        known = set(Fault.__dataclass_fields__)
        strange = sorted(str(key) for key in self._told if key not in known)
        if strange:
            raise self._wrong(f"knows no key '{strange[0]}'; the keys are {', '.join(sorted(known))}")
        name = self._text("name")
        if not _NAME.fullmatch(name) or name in ("all", "none"):
            raise self._wrong("name must be small letters, digits and hyphens, such as 'level-shift'")
        shape = self._one_of("shape", SHAPES)
        plain = shape in ("stuck", "dropout", "season")  # there is nothing that could be more or less
        return Fault(
            name=name,
            summary=self._text("summary"),
            shape=shape,
            reach=self._one_of("reach", REACHES),
            magnitude=(1.0, 1.0) if plain else self._range("magnitude", _LARGEST),
            minutes=self._range("minutes", _LONGEST_MINUTES),
            metrics=self._names("metrics", METRICS),
            stages=self._names("stages", frozenset(KINDS)),
            direction=self._one_of("direction", DIRECTIONS, "either"),
            lines=int(self._number("lines", 3, 1, 100)),
            hop_minutes=self._number("hop_minutes", 0.0, 0.0, 60.0),
            fading=self._number("fading", 0.8, 0.0, 1.0),
        )

    def _wrong(self, what: str) -> FaultError:
        return FaultError(f"{self._path}: {what}")

    def _text(self, key: str) -> str:
        value = self._told.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(f"needs `{key}`, a text")
        return value.strip()

    def _one_of(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self._told.get(key, default)
        if value not in allowed:
            raise self._wrong(f"{key} must be one of {', '.join(allowed)}, not {value!r}")
        return str(value)

    def _number(self, key: str, default: float, least: float, most: float) -> float:
        value = self._told.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise self._wrong(f"{key} must be a number from {least:g} to {most:g}, not {value!r}")
        return float(value)

    def _range(self, key: str, most: float) -> tuple[float, float]:
        value = self._told.get(key)
        if not isinstance(value, list) or len(value) != 2:
            raise self._wrong(f"needs `{key}`, two numbers such as [4, 8]")
        low, high = value
        for number in value:
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= most:
                raise self._wrong(f"{key} must hold numbers above 0 and up to {most:g}, not {number!r}")
        if low > high:
            raise self._wrong(f"{key} must be [from, to]: {low} is more than {high}")
        return float(low), float(high)

    def _names(self, key: str, known: frozenset[str]) -> tuple[str, ...]:
        value = self._told.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._wrong(f"{key} must be a list of names")
        strange = sorted(set(value) - known)
        if strange:
            raise self._wrong(f"{key} names '{strange[0]}', which nothing tells; known are {', '.join(sorted(known))}")
        return tuple(value)
