"""Turns the driver's errors into ours, once, where a transaction ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tonewatch.errors import UnknownTenant, WarehouseAway, WarehouseError

#: Another try may succeed although PostgreSQL is there.
CONTENDED = (
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.TooManyConnections,
)
FULL = (errors.DiskFull, errors.OutOfMemory)
#: libpq tells a refused login by its text alone.
LOGIN_REFUSED = (
    "authentication failed",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "permission denied for database",
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise WarehouseAway or WarehouseError for what SQLAlchemy and psycopg raise inside."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        raise translate(error) from error


def translate(error: Exception) -> WarehouseError:
    """The error to raise for `error`, with what to do about it. No values of rows are in its text."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = _first_line(cause)
    if isinstance(cause, PoolTimeout):
        return WarehouseAway("all connections to PostgreSQL are in use: a transaction is held too long; try again")
    if isinstance(cause, errors.ForeignKeyViolation) and (cause.diag.constraint_name or "").endswith("_tenant_fkey"):
        return UnknownTenant("no such tenant: add it first (tenants.add)")
    if isinstance(cause, errors.UndefinedTable | errors.UndefinedFunction):
        return WarehouseError(f"the warehouse's schema is missing or old ({text}): run `python -m warehouse.migrate`")
    if isinstance(cause, CONTENDED) or "concurrently updated" in text:
        return WarehouseAway(f"PostgreSQL gave up on this transaction ({text}); the same call may succeed now")
    if isinstance(cause, errors.CheckViolation) and "partition constraint" in text:
        return WarehouseAway(
            "another process made the partition of that day at the same moment; the same call succeeds now"
        )
    if isinstance(cause, FULL):
        return WarehouseAway(f"PostgreSQL has no room left ({text}): free disk space or memory, then try again")
    if any(part in text for part in LOGIN_REFUSED):
        return WarehouseError(f"PostgreSQL refuses the login ({text}): check the user and password of the database URL")
    if isinstance(cause, errors.ProgramLimitExceeded | errors.StatementTooComplex | errors.TooManyColumns):
        return WarehouseError(f"PostgreSQL refused what is too large for it: {text}")
    if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return WarehouseAway(
            f"PostgreSQL cannot be reached ({text}): see that it runs (`tonewatch status`), then try again"
        )
    return WarehouseError(f"PostgreSQL refused: {text}")


def _first_line(error: BaseException) -> str:
    # Only the first line: DETAIL holds values of the row.
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
