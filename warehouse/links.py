"""Database URLs: one setting, two drivers' ways of writing it."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from tonewatch.errors import SettingsError

DRIVER = "postgresql+psycopg"


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The URL itself is not repeated: it may hold a password.
        raise SettingsError("a database URL cannot be read; write postgresql://user:password@host:port/name") from error
    if parsed.drivername not in ("postgres", "postgresql", DRIVER):
        raise SettingsError(f"a database URL starts with {parsed.drivername}://; only postgresql:// will do")
    return parsed


def driver_url(url: str) -> URL:
    """`url` as SQLAlchemy wants it, on psycopg. Raises SettingsError."""
    return _parse(url).set(drivername=DRIVER)


def plain_url(url: str) -> str:
    """`url` as libpq wants it. Raises SettingsError."""
    return _parse(url).set(drivername="postgresql").render_as_string(hide_password=False)


def with_database(url: str, name: str) -> str:
    """`url` with the database `name` instead of its own. Raises SettingsError."""
    return _parse(url).set(drivername="postgresql", database=name).render_as_string(hide_password=False)


def beside(admin_url: str, app_url: str) -> str:
    """`admin_url` with the database of `app_url`. Raises SettingsError."""
    return with_database(admin_url, _parse(app_url).database or "")
