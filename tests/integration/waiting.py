"""What tests of turns share: to see that a transaction waits for another's lock."""

from __future__ import annotations

import asyncio

import psycopg

from tests.conftest import Database

WAITS = """
    select count(*) from pg_locks
    where locktype = 'advisory' and not granted
      and database = (select oid from pg_database where datname = current_database())
"""


async def until_one_waits(database: Database, seconds: float = 8.0) -> None:
    """Until somebody waits for an advisory lock: each try asks the server, which tells nobody by itself."""
    async with asyncio.timeout(seconds):
        async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
            while await (await connection.execute(WAITS)).fetchone() == (0,):
                await asyncio.sleep(0.02)
