"""Which hosts may be asked: a playlist, a redirect or a status page may name any host, also one behind our own door."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from tonewatch.errors import SourceError


class Hosts:
    """The host of `url` and `more`. `refused`: host -> the first address there that was not asked.

    others: every other host may be asked too, only not this machine (unless `url` is on it): for what a person plays.

    >>> Hosts("http://radio.example/live.m3u8", others=True).allows("127.0.0.1")
    False
    """

    def __init__(self, url: str, more: Iterable[str] = (), *, others: bool = False) -> None:
        self._known = {host_of(url), *(host.lower() for host in more)}
        self._others = others
        self.refused: dict[str, str] = {}

    def allows(self, host: str) -> bool:
        """Whether `host` may be asked."""
        host = host.lower().strip("[]")
        return host in self._known or (self._others and not is_own_machine(host))

    def heed(self, host: str, url: str) -> None:
        """Before each request. Raises SourceError, of kind host."""
        if self.allows(host):
            return
        self.refused.setdefault(host, url)
        known = ", ".join(sorted(self._known))
        raise SourceError(f"{url} is at {host}, which is not asked: allowed is {known}", kind="host")


def host_of(url: str) -> str:
    """The host in an address, in lower case, an IPv6 address without brackets; "" where there is none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:  # brackets that hold no address
        return ""


def is_own_machine(host: str) -> bool:
    """Whether the name itself, without asking DNS, means this machine or its own link."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified or mapped.is_link_local)
