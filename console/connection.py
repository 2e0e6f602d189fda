"""What `tonewatch connect` finds, in words and as a document, and the change of settings that it comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from console.hindsight import name
from console.tenancy import Change
from gateway.http import client
from gateway.naming import Naming
from gateway.sources.prometheus_server import PrometheusServer
from policy.runbooks import RUNBOOKS
from tasks.backtest import PastIncident, backtest
from tasks.explore import Explored, explore, recall
from tonewatch.clock import SYSTEM, Clock
from tonewatch.settings import Profile, load_profile, read
from tonewatch.topology import Topology

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Found:
    """What there is, and what would have been told. span: of the history that was there; None: there was none."""

    url: str
    explored: Explored
    incidents: list[PastIncident]
    span: tuple[datetime, datetime] | None
    budget: float  # false pages that the profile allows in the span
    profile: Profile
    every_s: float  # between two scrapes of the span
    answered: Mapping[str, float]  # job -> share of its scrapes that were answered

    def document(self) -> dict[str, Any]:
        """For scripts."""
        explored = self.explored
        return {
            "url": self.url,
            "version": explored.version,
            "series": explored.series,
            "metrics": explored.metrics,
            "jobs": explored.jobs,
            "entities": {entity: target.health for entity, target in sorted(explored.entities.items())},
            "rules": [rule.name for rule in explored.rules],
            "history": None if self.span is None else [moment.isoformat() for moment in self.span],
            "incidents": [_document(each) for each in self.incidents],
            "pages": len(self.incidents),
            "pages_allowed": round(self.budget, 2),
            "listener_minutes": None,
            "slo": {"promised": self.profile.slo, "scrapes_answered": dict(self.answered)},
            "remedies": [
                {
                    "runbook": each.name,
                    "causes": sorted(each.causes),
                    "needs": [*each.needs, "a grant of the owner's (setting grants)"],
                    "granted": any(grant.runbook == each.name for grant in self.profile.grants),
                }
                for each in RUNBOOKS
            ],
        }

    def text(self) -> str:
        """For people."""
        explored = self.explored
        down = {entity: target for entity, target in explored.entities.items() if target.health == "down"}
        lines = [
            f"Prometheus {explored.version} at {self.url}",
            f"  {_number(explored.series)} series of {explored.metrics} metrics, {len(explored.targets)} targets: "
            + (", ".join(f"{job} ({count})" for job, count in explored.jobs.items()) or "none"),
            f"  {len(explored.entities)} entities proposed, {len(down)} of them down now"
            + (": " + ", ".join(sorted(down)[:SHOWN]) if down else ""),
            f"  {len(explored.rules)} alerting rules of yours would be heeded"
            + (": " + ", ".join(rule.name for rule in explored.rules[:SHOWN]) if explored.rules else ""),
            f"  metrics that tell of players or streams: {', '.join(explored.sounding[:SHOWN]) or 'none'}",
            *self._backtest(),
        ]
        return "\n".join(lines)

    def _backtest(self) -> list[str]:
        if self.span is None:
            return ["It holds no scrape of that time: there is nothing to look back on yet."]
        start, end = self.span
        days = (end - start) / timedelta(days=1)
        lines = [
            f"Backtest of {days:.1f} days ({start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC): "
            f"{len(self.incidents)} incidents, each one page; your budget would allow {self.budget:.1f} false ones."
        ]
        for number, each in list(enumerate(self.incidents, start=1))[-SHOWN:]:
            lasted = (each.ended - each.onset).total_seconds() / 60
            lines.append(
                f"  {number:>3}. {name(each)}  {each.onset:%Y-%m-%d %H:%M:%S}  {lasted:6.1f} min  {each.title}"
            )
            if len(each.entities) > 1:
                lines.append(f"{'':40}with {', '.join(each.entities[1:SHOWN])}")
        if len(self.incidents) > SHOWN:
            lines.insert(1, f"  (the last {SHOWN}; --json lists all)")
        lines.append(
            "How many listener-minutes they cost is not known: a Prometheus does not say who was listening. Players do "
            "that send beacons (docs/gateway.md)."
        )
        return [*lines, *self._slo(), *self._remedies()]

    def _slo(self) -> list[str]:
        jobs = ", ".join(f"{job or 'without a job'} {100 * share:.3f} %" for job, share in self.answered.items())
        return [
            f"SLO: your settings promise {100 * self.profile.slo:g} % of listener-minutes with sound (slo). By scrapes "
            f"that were answered, which says less: {jobs or 'none'}."
        ]

    def _remedies(self) -> list[str]:
        granted = {grant.runbook for grant in self.profile.grants}
        lines = [
            "Nothing is done by itself without a grant of yours (docs/guardrails.md). What each remedy would need:"
        ]
        for each in RUNBOOKS:
            word = "granted" if each.name in granted else "not granted"
            lines.append(f"  {each.name} ({word}; {', '.join(sorted(each.causes))}): {'; '.join(each.needs)}")
        return lines


def _document(each: PastIncident) -> dict[str, Any]:
    return {
        "name": name(each),
        "onset": each.onset.isoformat(),
        "opened": each.opened.isoformat(),
        "ended": each.ended.isoformat(),
        "title": each.title,
        "entities": list(each.entities),
        "detectors": sorted({finding.detector for finding in each.findings}),
    }


def _number(count: int | None) -> str:
    return "an unknown number of" if count is None else f"{count:,}"


def look_at(
    url: str,
    tenant: str,
    days: float,
    say: Callable[[str], None],
    *,
    profile: Profile | None = None,
    with_credentials: bool = False,
    clock: Clock = SYSTEM,
) -> Found:
    """Ask it for everything, and backtest as `profile` (default: that of the settings) has it. Raises SourceError.

    with_credentials: send the setting prometheus_credentials there. Never unasked: the address may be another's.
    """
    settings = read()
    given = settings.prometheus_credentials if with_credentials else None
    watched = profile or load_profile(settings.profile)
    asked = _look_at(url, tenant, days, say, watched, given.get_secret_value() if given else None, clock.now())
    return asyncio.run(asked)


async def _look_at(
    url: str,
    tenant: str,
    days: float,
    say: Callable[[str], None],
    profile: Profile,
    credentials: str | None,
    now: datetime,
) -> Found:
    naming = Naming(profile.naming)
    async with client(timeout_s=30.0) as session:
        server = PrometheusServer(session, url, credentials)
        explored = await explore(server, naming)
        say(f"Prometheus {explored.version}: {len(explored.targets)} targets, {len(explored.rules)} alerting rules")
        told = await recall(server, naming, now - timedelta(days=days), now, say)
    say(f"{told.count:,} scrapes and {len(told.alerts):,} samples of alerts: going through them")
    scrapes, every = told.failing(), told.interval_s(profile.scrape_seconds)
    incidents = await asyncio.to_thread(backtest, tenant, scrapes, told.alerts, Topology([]), profile, now, every)
    span = told.span
    seconds = (span[1] - span[0]).total_seconds() if span else 0.0
    budget = profile.budget.pages_per_week * seconds / profile.budget.week_seconds
    return Found(server.url, explored, incidents, span, budget, profile, every, told.answered())


def change_for(url: str) -> Change:
    """The change of settings that connects `url`; user and password are no part of it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return Change(set=(f"sources.prometheus.url={urlunsplit((parts.scheme, host, parts.path.rstrip('/'), '', ''))}",))
