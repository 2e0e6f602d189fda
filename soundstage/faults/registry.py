"""Finds faults: those of this folder, and those of a folder outside the project."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

from soundstage.errors import FaultError
from soundstage.faults.base import CAUSE_KINDS, Fault, Truth

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_OWN_FOLDER = Path(__file__).resolve().parent
_NOT_FAULTS = {"__init__", "base", "registry"}
# One after the other: what hurts most first, and what is none at last, so that nothing is put down to its aftermath.
ORDER = (
    *("transcoder-crash", "packager-hang", "origin-crash", "edge-hang", "source-silent", "bad-release", "edge-latency"),
    *("maintenance-restart", "prime-time-ramp", "quiet-passage"),
)


def _load_file(path: Path) -> ModuleType:
    name = f"soundstage_faults_{path.stem}_{abs(hash(str(path)))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FaultError(f"{path}: cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise FaultError(f"{path}, line {error.lineno}: not valid Python: {error.msg}") from error
    except (Exception, SystemExit) as error:  # broad: a stranger's file may raise anything; its author needs the reason
        raise FaultError(f"{path}: raises {type(error).__name__} when loaded: {error}") from error
    return module


def _check(fault: type[Fault], path: Path) -> None:
    where = f"{path}: class {fault.__name__}"
    name = getattr(fault, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise FaultError(f"{where} needs a `name` of small letters, digits and hyphens, such as 'origin-crash'")
    if not isinstance(fault.is_fault, bool):
        raise FaultError(f"{where}: `is_fault` must be True or False")
    missing = sorted(getattr(fault, "__abstractmethods__", ()))
    if missing:
        raise FaultError(f"{where} lacks {', '.join(missing)}; docs/faults.md says what each must do")
    parameters = [p for p in inspect.signature(fault).parameters.values() if p.default is p.empty]
    if any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        raise FaultError(f"{where} must be made without arguments; keep what it needs in `self.memory`")


def _faults_in(path: Path) -> list[type[Fault]]:
    module = _load_file(path)
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Fault) and value.__module__ == module.__name__
    ]
    if not found:
        raise FaultError(f"{path}: defines no subclass of soundstage.faults.base.Fault")
    for fault in found:
        _check(fault, path)
    return found


def load(outside: Path | None = None) -> dict[str, type[Fault]]:
    """Every fault by name, in an order in which all can be injected.

    `outside` is a folder whose *.py files are loaded too.
    Raises FaultError for a folder, file or class that cannot be used.
    """
    paths = [path for path in sorted(_OWN_FOLDER.glob("*.py")) if path.stem not in _NOT_FAULTS]
    if outside is not None:
        if not outside.is_dir():
            raise FaultError(f"{outside}: no such folder of faults")
        others = sorted(outside.glob("*.py"))
        if not others:
            raise FaultError(f"{outside}: holds no *.py file")
        paths += others
    faults: dict[str, type[Fault]] = {}
    for path in paths:
        for fault in _faults_in(path):
            if fault.name in faults:
                raise FaultError(f"{path}: the name '{fault.name}' is taken by another fault")
            faults[fault.name] = fault
    rank = {name: number for number, name in enumerate(ORDER)}
    return dict(sorted(faults.items(), key=lambda item: (rank.get(item[0], len(rank)), item[0])))


def _check_texts(name: str, truth: Truth) -> None:
    for field in ("right", "wrong", "path"):
        values = getattr(truth, field)
        if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
            raise FaultError(f"fault '{name}': truth().{field} must be a tuple of texts")


def check_truth(fault: Fault, truth: object) -> Truth:
    """The truth, if it is one that can be compared with a diagnosis; raises FaultError otherwise."""
    if not isinstance(truth, Truth):
        raise FaultError(f"fault '{fault.name}': truth() must return a soundstage.faults.base.Truth")
    _check_texts(fault.name, truth)
    if truth.lasts_s is not None and not 0 <= truth.lasts_s < 3_600:
        raise FaultError(f"fault '{fault.name}': truth().lasts_s must be seconds, or None")
    if not isinstance(truth.entity, str) or ":" not in truth.entity:
        raise FaultError(f"fault '{fault.name}': truth().entity must be an entity id such as 'component:origin'")
    if fault.is_fault:
        entity, _, kind = (truth.cause or "").rpartition(":")
        if ":" not in entity or kind not in CAUSE_KINDS:
            kinds = ", ".join(sorted(CAUSE_KINDS))
            raise FaultError(f"fault '{fault.name}': truth().cause must be 'entity:kind' with a kind of: {kinds}")
    elif truth.cause is not None:
        raise FaultError(f"'{fault.name}' is no fault, so truth().cause must be None")
    return truth
