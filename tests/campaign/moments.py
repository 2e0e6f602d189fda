"""Moments at which a part can be killed: at least one in each of the eight steps, where dying hurts most.

The watcher's own functions are wrapped in its process, so that a moment is exact to the line. Which moment it is, and
who is killed then, is told by an order: a file that is taken once.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from tonewatch.clock import SYSTEM
from tonewatch.records import Action, ActionState, FindingKind, IncidentState

#: (positional arguments, result) of a call -> whether the moment has come.
When = Callable[[Sequence[Any], Any], bool]


def _always(_: Sequence[Any], __: Any) -> bool:
    return True


def _fault_among(samples: Any) -> bool:
    return any(sample.series.metric == "up" and sample.value < 1 for sample in samples)


def _rule_among(findings: Any) -> bool:
    return any(each.kind is FindingKind.RULE for each in findings)


def _finished(action: Any) -> bool:
    return isinstance(action, Action) and action.state is ActionState.FINISHED


@dataclass(frozen=True, slots=True)
class Moment:
    """When `place` (module:function) is called, or has returned (`after`), and `when` holds. `step`: of the eight."""

    name: str
    step: int
    words: str
    place: str
    when: When = _always
    after: bool = False


MOMENTS = (
    Moment(
        "collected",
        1,
        "what arrived is taken over, nothing is made of it",
        "tasks.collect:Collector.drain",
        lambda _, drained: _fault_among(drained),
        after=True,
    ),
    Moment("check", 2, "before the contracts", "flows.ticks:check", lambda words, _: _fault_among(words[0])),
    Moment(
        "detected",
        3,
        "found, not written",
        "flows.ticks:detect",
        lambda _, found: _rule_among(found.values()),
        after=True,
    ),
    Moment(
        "findings",
        4,
        "between Findings and cursor",
        "warehouse.findings:save",
        lambda words, _: _rule_among(words[2]),
        after=True,
    ),
    Moment(
        "correlate",
        5,
        "Findings and cursor are kept, no incident yet",
        "flows.correlation:correlate",
        lambda words, _: bool(words[2]),
    ),
    Moment(
        "correlated",
        5,
        "the incident is written, not committed",
        "flows.correlation:correlate",
        lambda _, changed: bool(changed.opened),
        after=True,
    ),
    Moment("diagnose", 5, "the incident is open, without causes", "flows.remediation:diagnose"),
    Moment("decide", 7, "diagnosed, not decided", "flows.remediation:decide"),
    Moment("enqueued", 6, "the page is in the outbox, not committed", "tasks.notify:enqueue", after=True),
    Moment("leased", 6, "the page is leased, not sent", "tasks.notify:Sender.send"),
    Moment("mailed", 6, "the server took the mail, it is not marked", "warehouse.notices:mark_sent"),
    Moment("intent", 7, "the intent is committed, nothing is begun", "flows.remediation:act"),
    Moment("started", 7, "begun is committed, nothing is done", "tasks.act:_deed"),
    Moment("half-done", 7, "in the deed: ended, not brought up", "gateway.platforms.supervisor:Supervisor.start"),
    Moment(
        "sent",
        7,
        "in the deed: the call went out",
        "gateway.platforms.supervisor:Supervisor._reaches",
        lambda words, _: "RUNNING" in words[2],
    ),
    Moment("done", 7, "done, its outcome not written", "tasks.act:_keep", lambda words, _: _finished(words[4])),
    Moment("verify", 7, "acted, not verified", "flows.remediation:verify"),
    Moment("judged", 7, "the verdict is written, not committed", "warehouse.verdicts:save", after=True),
    Moment(
        "closing",
        8,
        "closed, not committed",
        "flows.casework:_audit",
        lambda words, _: words[3].incident.state is IncidentState.CLOSED,
        after=True,
    ),
    Moment(
        "closed",
        8,
        "closed, not reported",
        "flows.casework:report",
        lambda words, _: words[2].incident.state is IncidentState.CLOSED,
    ),
)
NAMED = {moment.name: moment for moment in MOMENTS}


@dataclass(frozen=True, slots=True)
class Order:
    """At `moment` kill the process `pid`; None: the one that comes to it."""

    moment: str
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Struck:
    """What came of an order: whom it killed, and when (in UTC, as ISO 8601)."""

    moment: str
    pid: int
    time: str


class Orders:
    """A folder in which one order at a time waits for its moment."""

    def __init__(self, folder: Path) -> None:
        self._order, self._struck = folder / "order.json", folder / "struck.json"

    def give(self, order: Order) -> None:
        """Let it wait; what came of the one before is forgotten."""
        self._struck.unlink(missing_ok=True)
        _write(self._order, asdict(order))

    def withdraw(self) -> None:
        """Forget the order that waits."""
        self._order.unlink(missing_ok=True)

    def struck(self) -> Struck | None:
        """What came of the order; None: its moment has not come."""
        return Struck(**json.loads(self._struck.read_text())) if self._struck.exists() else None

    def carry_out(self, moment: str) -> None:
        """Kill, if that is the order of this moment. It is taken before: nobody is killed twice by one order."""
        try:
            order = Order(**json.loads(self._order.read_text()))
            if order.moment != moment:
                return
            self._order.unlink()
        except FileNotFoundError:
            return
        pid = order.pid or os.getpid()
        _write(self._struck, asdict(Struck(moment, pid, SYSTEM.now().isoformat())))
        os.kill(pid, signal.SIGKILL)


def _write(path: Path, document: object) -> None:
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(document))
    draft.replace(path)


def install(orders: Orders) -> None:
    """From now on each moment of this process asks `orders`."""
    for moment in MOMENTS:
        _wrap(moment, orders)


def _wrap(moment: Moment, orders: Orders) -> None:
    module, _, path = moment.place.partition(":")
    *outer, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in outer:
        owner = getattr(owner, each)
    original = getattr(owner, name)
    setattr(owner, name, _asking(original, moment, orders))


def _asking(original: Callable[..., Any], moment: Moment, orders: Orders) -> Callable[..., Any]:
    def ask(after: bool, arguments: Sequence[Any], result: Any = None) -> None:
        if after is moment.after and moment.when(arguments, result):
            orders.carry_out(moment.name)

    if inspect.iscoroutinefunction(original):

        @wraps(original)
        async def awaited(*arguments: Any, **named: Any) -> Any:
            ask(False, arguments)
            result = await original(*arguments, **named)
            ask(True, arguments, result)
            return result

        return awaited

    @wraps(original)
    def called(*arguments: Any, **named: Any) -> Any:
        ask(False, arguments)
        result = original(*arguments, **named)
        ask(True, arguments, result)
        return result

    return called
