"""The one pair of user and password that the platform's controls ask for: it stands in `supervisor_url` alone."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit, urlunsplit

from tonewatch.errors import SettingsError


def apart(url: str) -> tuple[str, dict[str, str]]:
    """The address without its credentials, which must stand in no message, and the headers that carry them.

    Raises SettingsError: `url` is no address of a supervisord.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in {"http", "https"} or not host:
        raise SettingsError("supervisor_url must be http://user:password@host:port/RPC2")
    place = f"[{host}]" if ":" in host else host
    address = urlunsplit((parts.scheme, f"{place}:{port}" if port else place, parts.path or "/RPC2", "", ""))
    headers = {"connection": "close"}  # a kept connection that supervisord has closed would look like a broken call
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return address, headers
