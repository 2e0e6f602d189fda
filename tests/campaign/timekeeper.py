"""Keeps the time of a platform whose day is compressed: starts Prefect's deployments as their schedules say, so many
times faster, and decides nothing. It does what Prefect's scheduler does by the wall's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from console.waiting import until
from tonewatch.clock import SYSTEM

HOURS = 24.0
#: Whose schedules are not kept: what asks by itself, and what compressed days do not bring about.
LEFT_OUT = {
    "training": "drift asks for it: nothing else is to, or nobody could tell which of the two brought the challenger",
    "retraining": "nor the models' age, for the same reason",
    "maintenance": "it ends what is two days old by the wall's clock",
    "weekly-report": "nobody reads it here",
}
#: What makes rows goes before what reads them.
FIRST = ("materialization", "data-quality", "drift", "validation")
ANSWER_S = 30.0
#: A run that takes longer is left alone, and the next is started in its turn.
RUN_S = 300.0
#: Turns between two runs of what costs a processor most and brings nothing about: Great Expectations alone takes eight
#: seconds to import.
SELDOM = {"data-quality": 4}
ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is started, and every how many hours of the platform's day its schedule says."""

    id: str
    name: str
    hours: float
    parameters: dict[str, Any] = field(default_factory=dict)


def hours_between(cron: str) -> float:
    """From one time of the schedule to the next, as far as our schedules go: hourly, every so many hours, daily,
    weekly. Raises ValueError: another.
    """
    _, hour, day, month, weekday = cron.split()
    if (day, month) != ("*", "*"):
        raise ValueError(f"no schedule of hours, days or a week: {cron}")
    if weekday != "*":
        return 7 * HOURS
    return 1.0 if hour == "*" else float(hour[2:]) if hour.startswith("*/") else HOURS


class Prefect:
    """The server's API at `url`, as far as it is needed here. Close it."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=ANSWER_S, trust_env=False)

    async def close(self) -> None:
        """Let go of it."""
        await self._client.aclose()

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        answer = await self._client.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def scheduled(self) -> list[Deployment]:
        """Every deployment that has an active schedule, in the order in which they are carried out."""
        found = []
        for each in await self._ask("POST", "/deployments/filter", {}):
            crons = [one["schedule"].get("cron") for one in each["schedules"] if one["active"]]
            if crons and each["name"] not in LEFT_OUT:
                hours = min(hours_between(cron) for cron in crons)
                found.append(Deployment(each["id"], each["name"], hours, each["parameters"]))
        return sorted(found, key=lambda each: (FIRST.index(each.name) if each.name in FIRST else len(FIRST), each.name))

    async def default(self, deployment: Deployment, **parameters: object) -> None:
        """Set parameters of it for all runs to come, whoever starts them."""
        await self._ask("PATCH", f"/deployments/{deployment.id}", {"parameters": deployment.parameters | parameters})

    async def start(self, deployment: Deployment) -> str:
        """A run, now, with the deployment's own parameters; its id."""
        made = await self._ask("POST", f"/deployments/{deployment.id}/create_flow_run", {"tags": ["compressed"]})
        return str(made["id"])

    async def ended(self, run: str, seconds: float) -> bool:
        """Wait for the run's end; False: it takes longer."""

        async def over() -> bool:
            return (await self._ask("GET", f"/flow_runs/{run}"))["state_type"] in ENDED

        return bool(await until(over, seconds, every=1.0))

    async def runs(self) -> list[dict[str, Any]]:
        """Every run of a deployment that has begun, in order: id, name, deployment, state, start, seconds, tags."""
        names = {each["id"]: each["name"] for each in await self._ask("POST", "/deployments/filter", {})}
        found: list[dict[str, Any]] = []
        while True:
            page = await self._ask(
                "POST", "/flow_runs/filter", {"sort": "START_TIME_ASC", "limit": 200, "offset": len(found)}
            )
            found += page
            if len(page) < 200:
                break
        return [
            {
                "id": each["id"],
                "name": each["name"],
                "deployment": names[each["deployment_id"]],
                "state": each["state_name"],
                "start": each["start_time"],
                "seconds": round(each["total_run_time"], 1),
                "tags": each["tags"],
            }
            for each in found
            if each["deployment_id"] in names and each["start_time"]
        ]


class Timekeeper:
    """Starts each deployment in its time, one after the other, for ever. turns: that were gone through; late: that
    were left out, because one took longer than there was time for.

    hour_s: seconds of a compressed hour; least_hours: no schedule is kept closer than that: each run is a process that
    takes seconds to import, and twenty-four of them do not fit into a day of ninety.
    """

    def __init__(self, prefect: Prefect, hour_s: float, least_hours: float, say: Callable[[str], None]) -> None:
        self._prefect, self._say = prefect, say
        self._turn_s, self._least = hour_s * least_hours, least_hours
        self.turns = self.late = 0

    async def go_on(self, deployments: Sequence[Deployment]) -> None:
        """Cancel it to end."""
        began, turn = SYSTEM.monotonic(), 0
        while True:
            for each in deployments:
                if turn % self._turns(each) == 0:
                    await self._carried_out(each)
            turn += 1
            self.turns += 1
            gone = SYSTEM.monotonic() - began
            while turn * self._turn_s < gone:
                turn, self.late = turn + 1, self.late + 1
            await self._until(began + turn * self._turn_s)

    def _turns(self, of: Deployment) -> int:
        """Every how many turns it is due."""
        return max(1, round(of.hours / self._least)) * SELDOM.get(of.name, 1)

    async def _carried_out(self, deployment: Deployment) -> None:
        try:
            if not await self._prefect.ended(await self._prefect.start(deployment), RUN_S):
                self._say(f"{deployment.name}: still at it after {RUN_S:g} s")
        except httpx.HTTPError as error:  # the next turn tries again, as a schedule would
            self._say(f"{deployment.name} was not started: {error!r}")

    @staticmethod
    async def _until(moment: float) -> None:
        async def reached() -> bool:
            return SYSTEM.monotonic() >= moment

        await until(reached, max(0.0, moment - SYSTEM.monotonic()))
