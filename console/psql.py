"""`tonewatch psql`: the warehouse by hand, as the app role, seeing one tenant."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, unquote, urlsplit

from console.stack.lifecycle import connected
from console.stack.postgres import programs
from tonewatch.errors import NotUp, StackError
from tonewatch.settings import Settings


def open_psql(settings: Settings, tenant: str | None, arguments: Sequence[str]) -> None:
    """Become psql, connected to the running stack's warehouse; without a tenant no row is seen.

    Raises NotUp: the stack is down; StackError: there is no psql.
    """
    url = connected(settings).database_url
    if url is None:
        raise NotUp("there is no warehouse to connect to; start one with `tonewatch up`")
    program = shutil.which("psql", path=str(programs())) or shutil.which("psql")
    if program is None:
        raise StackError("no psql found, neither beside the embedded PostgreSQL nor on the PATH")
    environment = {**os.environ, **login(url.get_secret_value())}
    if tenant is not None:
        environment["PGOPTIONS"] = f"-c app.tenant={tenant}"
    os.execve(program, [program, *arguments], environment)  # noqa: S606 - an absolute program and its own arguments


def login(url: str) -> Mapping[str, str]:
    """A DSN as libpq's environment variables: a password does not belong on a command line."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = query.get("host", [parts.hostname or ""])[0]
    values = {
        "PGHOST": host,
        "PGPORT": str(parts.port or query.get("port", [""])[0] or ""),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": parts.path.lstrip("/"),
    }
    return {name: value for name, value in values.items() if value}
