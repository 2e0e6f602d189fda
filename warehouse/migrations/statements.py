"""Runs the .sql files of a migration."""

from __future__ import annotations

from pathlib import Path

import psycopg
from alembic import op

FOLDER = Path(__file__).parent


def run_files(*names: str) -> None:
    """Run the files `<name>.sql` of this folder in the migration's own transaction."""
    connection = op.get_bind().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)  # noqa: S101 - tells mypy the driver that migrate.py chose
    for name in names:
        # Straight to the driver, which sends a text without parameters as it is: several statements, % included.
        connection.execute((FOLDER / f"{name}.sql").read_bytes())
