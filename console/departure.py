"""A tenant's data, written out for it, and its end: `tonewatch tenants export` and `offboard`."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks import trace
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import ActRefused, SettingsError
from warehouse import audit, departure, keys, tenants
from warehouse.cache import Cache
from warehouse.database import Warehouse

MANIFEST = "manifest.json"
RECEIPT = "offboarded.json"
#: A gateway believes a key so long (gateway/api/door.py, Limits.key_seconds); after that nothing more comes in.
LAST_KEYS_S = 4.0


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. tables: name -> rows, bytes and SHA-256 of its file."""

    tenant: str
    folder: Path
    taken: datetime
    tables: dict[str, dict[str, Any]]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table["rows"] for table in self.tables.values())


@dataclass(frozen=True, slots=True)
class Departure:
    """The work on one warehouse. `folders`: by name those in which each tenant has one of its own, e.g. `reports`;
    caches: those in which it has one that is removed and not exported.
    """

    warehouse: Warehouse
    folders: Mapping[str, Path]
    clock: Clock = SYSTEM
    caches: Sequence[Path] = ()

    async def export(self, tenant: str, folder: Path, who: str, reason: str, say: Callable[[str], None]) -> Exported:
        """Write every row of the tenant into `folder`: a file of JSON lines per table, its folders, and a manifest.

        The manifest is written last: a folder without one is not whole. The export stands in the audit, and so in
        itself. Raises UnknownTenant; SettingsError: the folder is not empty or cannot be written.
        """
        if folder.exists() and any(folder.iterdir()):
            raise SettingsError(f"{folder} is not empty: name a new folder")
        now = self.clock.now()
        async with self.warehouse.as_tenant(tenant) as db:
            await tenants.get(tenant, db)
            await audit.write(
                tenant, db, who=who, what="tenant.export", subject=tenant, before={}, after={}, reason=reason, at=now
            )
            names = await departure.tables(db)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            written = {name: await self._table(tenant, name, folder / f"{name}.jsonl.gz", say) for name in names}
            for name, parent in self.folders.items():
                if (parent / tenant).is_dir():
                    shutil.copytree(parent / tenant, folder / name)
            exported = Exported(tenant, folder, now, written)
            manifest = {"tenant": tenant, "taken": now.isoformat(), "by": who, "reason": reason, "tables": written}
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{folder} cannot be written: {error}") from error
        return exported

    async def _table(self, tenant: str, name: str, file: Path, say: Callable[[str], None]) -> dict[str, Any]:
        count = 0
        async with self.warehouse.as_tenant(tenant) as db:
            with gzip.open(file, "wt", encoding="utf-8") as out:
                async for row in departure.rows(tenant, db, name):
                    out.write(row + "\n")
                    count += 1
        digest = await asyncio.to_thread(_sha256, file)
        say(f"{name}: {count:,} rows")
        return {"rows": count, "bytes": file.stat().st_size, "sha256": digest}

    async def offboard(
        self,
        tenant: str,
        folder: Path,
        admin_url: str,
        cache: Cache,
        who: str,
        reason: str,
        say: Callable[[str], None],
    ) -> dict[str, int]:
        """Export everything, end every key, retire the models that learned from the tenant, then remove every row,
        picture, report and case; rows removed by table.

        What is left is the export with a receipt in it. An offboarding that broke off is begun anew, with a new folder.
        Raises what `export` does; WarehouseError: no right to remove.
        """
        now = self.clock.now()
        async with self.warehouse.as_tenant(tenant) as db:
            await tenants.get(tenant, db)
            for key in await keys.listed(tenant, db):
                await keys.revoke(tenant, db, key.id, now)
        say("every key has ended; waiting until no gateway believes one any more")
        await asyncio.sleep(LAST_KEYS_S)
        exported = await self.export(tenant, folder, who, reason, say)
        retired = await self._retire(tenant, who)
        removed = await asyncio.to_thread(departure.remove, tenant, admin_url)
        lacking = {
            name: count for name, count in removed.items() if count > exported.tables.get(name, {"rows": 0})["rows"]
        }
        await cache.forget(tenant)
        for parent in (*self.folders.values(), *self.caches):
            shutil.rmtree(parent / tenant, ignore_errors=True)
        receipt = {
            "tenant": tenant,
            "removed": removed,
            "models_retired": retired,
            "when": self.clock.now().isoformat(),
            "by": who,
            "reason": reason,
        }
        (folder / RECEIPT).write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")
        if lacking:
            raise ActRefused(f"removed, but rows that came in meanwhile are not in the export: {lacking}")
        return removed

    async def _retire(self, tenant: str, who: str) -> list[str]:
        """Before the rows go, which alone tell what learned from them. If the removal fails, it only scores less."""
        traced = [each.traced for each in await trace.of_tenant(self.warehouse, tenant)]
        reason = "it had learned from a tenant that has left"
        return await trace.retire(self.warehouse, traced, reason, self.clock.now(), who=who, leaving=tenant)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
