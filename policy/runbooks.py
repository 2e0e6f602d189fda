"""Runbooks: which remedy is right for which cause, what it risks, and what would undo it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tonewatch.records import CauseKind
from tonewatch.settings import CoolDowns


class Risk(StrEnum):
    """How much can go wrong: low acts when the cause is certain, medium needs a yes, high two people's."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Touches(StrEnum):
    """What a runbook takes away from listeners if its target was well after all."""

    PROCESS = "process"  # what the target delivers, while it starts
    TRAFFIC = "traffic"  # the target's share of the service, until it is given back
    SETTING = "setting"  # nothing: the target goes on with another setting


@dataclass(frozen=True, slots=True)
class Runbook:
    """A remedy. `cool_down_s`: the sheet's rest of a target after it; `undo` says in words what takes it back.

    needs: exactly what it must be allowed to do on the platform.
    """

    name: str
    causes: frozenset[CauseKind]
    risk: Risk
    touches: Touches
    cool_down_s: float
    reversible: bool
    undo: str
    needs: tuple[str, ...]


#: What the name of the action begins with that takes a runbook's deed back.
UNDO: Final = "undo-"
_REST: Final = CoolDowns()
_SUPERVISOR: Final = "supervisord's {} for the component's process (TONEWATCH_SUPERVISOR_URL)"

RUNBOOKS: Final = (
    Runbook(
        "restart",
        frozenset({CauseKind.CRASH}),
        Risk.LOW,
        Touches.PROCESS,
        _REST.restart,
        True,
        "stop it again: it had ended before",
        (_SUPERVISOR.format("getProcessInfo, startProcess, stopProcess"),),
    ),
    Runbook(
        "kill-and-restart",
        frozenset({CauseKind.HANG}),
        Risk.LOW,
        Touches.PROCESS,
        _REST.kill_and_restart,
        True,
        "stop it: it did not answer before either",
        (_SUPERVISOR.format("getProcessInfo, signalProcess KILL, startProcess, stopProcess"),),
    ),
    Runbook(
        "switch-input",
        frozenset({CauseKind.SOURCE_SILENT}),
        Risk.LOW,
        Touches.SETTING,
        _REST.switch_input,
        True,
        "switch the ingest back to the input it took before",
        ("the lever `inputs` of the ingest in the inventory: GET it, POST it with a value",),
    ),
    Runbook(
        "rollback",
        frozenset({CauseKind.BAD_RELEASE, CauseKind.BAD_CONFIG}),
        Risk.MEDIUM,
        Touches.SETTING,
        _REST.rollback,
        True,
        "let the version run that ran before the rollback",
        ("the lever `versions` of the component in the inventory: GET it, POST it with a version",),
    ),
    Runbook(
        "drain",
        frozenset({CauseKind.LATENCY}),
        Risk.MEDIUM,
        Touches.TRAFFIC,
        _REST.drain,
        True,
        "admit listeners to the edge again",
        ("the lever `routing` of the inventory: GET it, POST it with drain and admit",),
    ),
)


def for_cause(kind: CauseKind) -> Runbook | None:
    """The runbook that is right for such a cause; None: a person has to see to it."""
    return next((runbook for runbook in RUNBOOKS if kind in runbook.causes), None)


def named(name: str) -> Runbook | None:
    """The runbook of that name, or None."""
    return next((runbook for runbook in RUNBOOKS if runbook.name == name), None)
