"""Evidence: what is kept as it was at its time. What replay reads."""

from __future__ import annotations

from sqlalchemy import text

from tonewatch.records import Evidence
from warehouse.database import Connection
from warehouse.rows import utc

PUT = text("""
    insert into evidence (tenant, id, kind, as_of, media_type, content)
    values (:tenant, :id, :kind, :as_of, :media_type, :content)
    on conflict do nothing
""")
GET = text("select id, kind, as_of, media_type, content from evidence where tenant = :tenant and id = :id")


async def put(tenant: str, db: Connection, evidence: Evidence) -> None:
    """Keep the evidence; the same content again changes nothing."""
    utc(evidence.as_of)
    values = {"id": evidence.id, "kind": evidence.kind, "as_of": evidence.as_of, "media_type": evidence.media_type}
    await db.execute(PUT, {"tenant": tenant, "content": evidence.content, **values})


async def get(tenant: str, db: Connection, evidence_id: str) -> Evidence | None:
    """The evidence; None: there is none of that id."""
    found = (await db.execute(GET, {"tenant": tenant, "id": evidence_id})).mappings().one_or_none()
    return None if found is None else Evidence(**{**found, "content": bytes(found["content"])})
