"""The HTTP client of edges and players: plain HTTP over loopback, with nothing taken from the environment."""

from __future__ import annotations

from typing import Any

import httpx


def plain_client(**options: Any) -> httpx.AsyncClient:
    """A client without certificates: no address here is HTTPS, and a TLS context costs memory."""
    return httpx.AsyncClient(trust_env=False, verify=False, **options)  # noqa: S501 - nothing is fetched over TLS
