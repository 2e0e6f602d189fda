"""What `tonewatch connect alertmanager` finds, in words and as a document, and what to paste into its configuration."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from gateway.alerts import series
from gateway.http import client
from gateway.naming import Naming
from gateway.sources.alertmanager import Alertmanager, KnownAlert, Standing
from tonewatch.settings import Profile, Settings

SHOWN = 20
ROUTE = "/v1/alerts"
GATEWAY_PORT = 8414
#: Stands in the snippet where no key was made yet.
NO_KEY = "KEY"


@dataclass(frozen=True, slots=True)
class FoundAlertmanager:
    """What there is. named: the entity of each alert, in the order of `alerts`."""

    url: str
    standing: Standing
    receivers: tuple[str, ...]
    alerts: tuple[KnownAlert, ...]
    named: tuple[str, ...]
    gateway_url: str

    @property
    def posts_here(self) -> bool:
        """Whether its configuration names our route already."""
        return ROUTE in self.standing.configuration

    def document(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "url": self.url,
            "version": self.standing.version,
            "receivers": list(self.receivers),
            "posts_here": self.posts_here,
            "alerts": [
                {"labels": each.labels, "state": each.state, "since": each.since, "entity": entity}
                for each, entity in zip(self.alerts, self.named, strict=True)
            ],
            "receiver": self.snippet(),
        }

    def text(self) -> str:
        """For people."""
        active = [pair for pair in zip(self.alerts, self.named, strict=True) if pair[0].state == "active"]
        silenced = len(self.alerts) - len(active)
        lines = [
            f"Alertmanager {self.standing.version} at {self.url}",
            f"  receivers: {', '.join(self.receivers[:SHOWN]) or 'none'}"
            + ("; one of them posts to a Tonewatch already" if self.posts_here else ""),
            f"  {len(active)} alerts fire now, of {len({entity for _, entity in active})} entities"
            + (f"; {silenced} more are silenced or inhibited, and would not be told" if silenced else ""),
        ]
        for alert, entity in active[:SHOWN]:
            lines.append(f"    {entity}: {alert.labels.get('alertname', 'without a name')} since {alert.since}")
        if len(active) > SHOWN:
            lines.append(f"    (the first {SHOWN}; --json lists all)")
        return "\n".join(lines)

    def snippet(self, key: str = NO_KEY) -> str:
        """The receiver, and the route to it, for alertmanager.yml."""
        return "\n".join(
            [
                "route:",
                "  routes:",
                "    - receiver: tonewatch   # first of the routes; the others go on as before",
                "      continue: true",
                "receivers:",
                "  - name: tonewatch",
                "    webhook_configs:",
                f"      - url: {self.gateway_url}{ROUTE}",
                "        send_resolved: true",
                "        max_alerts: 0",
                "        http_config:",
                "          authorization:",
                f"            credentials: {key}",
            ]
        )

    def told_how(self, key: str = NO_KEY) -> str:
        """The same with what to do with it."""
        where = "Paste this into its alertmanager.yml and reload it; what it posts is heeded with the next tick:"
        how = [] if key != NO_KEY else [f"{NO_KEY}: tonewatch keys add alertmanager --scope alerts"]
        return "\n".join([where, "", self.snippet(key), "", *how]).rstrip()


def gateway_of(settings: Settings) -> str:
    """Where the gateway is, or will be when it is started."""
    return (settings.gateway_url or f"http://127.0.0.1:{settings.gateway_port or GATEWAY_PORT}").rstrip("/")


def look_at(url: str, profile: Profile, gateway_url: str) -> FoundAlertmanager:
    """Ask it for everything, and name what fires as `profile` does. Raises SourceError."""
    return asyncio.run(_look_at(url, Naming(profile.naming), gateway_url))


async def _look_at(url: str, naming: Naming, gateway_url: str) -> FoundAlertmanager:
    async with client(timeout_s=10.0) as session:
        server = Alertmanager(session, url)
        standing, receivers = await server.standing(), await server.receivers()
        alerts = await server.alerts()
    named = tuple(naming.entity(series(tuple(each.labels.items()))) for each in alerts)
    return FoundAlertmanager(server.url, standing, tuple(receivers), tuple(alerts), named, gateway_url)
