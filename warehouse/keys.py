"""API keys, `tw_<tenant>_<secret>`: the tenant in the key says under whose policy to look it up."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from tonewatch.roles import held
from warehouse.database import Connection, Warehouse
from warehouse.rows import utc

SECRET_BYTES = 32
ID_DIGITS = 16
#: A tenant's name holds no underscore, so the first one after it ends it; the secret may hold some.
KEY = re.compile(r"tw_(?P<tenant>[a-z0-9-]{1,40})_(?P<secret>[A-Za-z0-9_-]{43})")

CREATE = text("""
    insert into api_key (tenant, id, hash, purpose, scopes, created, expires)
    values (:tenant, :id, :hash, :purpose, :scopes, :now, :expires)
""")
FIND = text("select id, hash, purpose, scopes, expires, revoked from api_key where tenant = :tenant and id = :id")
LISTED = text("""
    select id, purpose, scopes, created, expires, revoked from api_key where tenant = :tenant
    order by created desc, id
""")
END_AT = text("update api_key set expires = :at where tenant = :tenant and id = :id")
REVOKE = text("""
    update api_key set revoked = :at where tenant = :tenant and id = :id and revoked is null
""")


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who came with a key that holds. `key_id` names the key without giving it away."""

    tenant: str
    key_id: str
    purpose: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What can be told of a key."""

    id: str
    purpose: str
    scopes: tuple[str, ...]
    created: datetime
    expires: datetime | None
    revoked: datetime | None

    def holds(self, now: datetime) -> bool:
        """Whether somebody who has it comes in."""
        return self.revoked is None and (self.expires is None or self.expires > now)

    def standing(self, now: datetime) -> str:
        """The same for people."""
        if self.revoked is not None:
            return f"revoked {self.revoked:%Y-%m-%d %H:%M}"
        if self.expires is None:
            return "holds"
        return f"{'holds until' if self.holds(now) else 'ended'} {self.expires:%Y-%m-%d %H:%M}"


async def create(
    tenant: str,
    db: Connection,
    *,
    purpose: str,
    scopes: Iterable[str],
    now: datetime,
    expires: datetime | None = None,
) -> str:
    """Make a key and give it in plain: this once, since only its hash is kept."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    times = {"now": utc(now), "expires": None if expires is None else utc(expires)}
    hash_ = _hash(secret)
    values = {"tenant": tenant, "id": key_id(hash_), "hash": hash_, "purpose": purpose, "scopes": list(scopes)}
    await db.execute(CREATE, values | times)
    return f"tw_{tenant}_{secret}"


async def verify(warehouse: Warehouse, plain: str, now: datetime, scope: str) -> KeyHolder | None:
    """Who holds the key `plain`; None: no such key, or it is expired, revoked or not made for `scope`.

    Raises WarehouseAway: nobody can tell now, which is no refusal.
    """
    parts = KEY.fullmatch(plain)
    if parts is None:
        return None
    tenant, hash_ = parts["tenant"], _hash(parts["secret"])
    async with warehouse.as_tenant(tenant) as db:
        found = (await db.execute(FIND, {"tenant": tenant, "id": key_id(hash_)})).one_or_none()
    if found is None or not hmac.compare_digest(bytes(found.hash), hash_):
        return None
    expired = found.expires is not None and found.expires <= utc(now)
    if expired or found.revoked is not None or scope not in held(found.scopes):
        return None
    return KeyHolder(tenant, found.id, found.purpose, tuple(found.scopes))


async def listed(tenant: str, db: Connection) -> list[KeyEntry]:
    """Every key that the tenant has had, the newest first."""
    found = (await db.execute(LISTED, {"tenant": tenant})).all()
    return [KeyEntry(id_, purpose, tuple(scopes), *times) for id_, purpose, scopes, *times in found]


async def end_at(tenant: str, db: Connection, id_: str, at: datetime) -> None:
    """Have the key end at that time."""
    await db.execute(END_AT, {"tenant": tenant, "id": id_, "at": utc(at)})


async def revoke(tenant: str, db: Connection, id_: str, at: datetime) -> bool:
    """End the key at once; False: there is none of that id, or it was revoked before."""
    return (await db.execute(REVOKE, {"tenant": tenant, "id": id_, "at": utc(at)})).rowcount == 1


def id_of(plain: str) -> str:
    """The public name of a plain key."""
    return key_id(_hash(plain.partition("_")[2].partition("_")[2]))


def key_id(hash_: bytes) -> str:
    """The public name of the key with that hash."""
    return hash_.hex()[:ID_DIGITS]


def _hash(secret: str) -> bytes:
    # One round of SHA-256 without salt is enough here: slow hashes protect what people choose, and these are 256
    # random bits that no list holds and no guessing reaches. It keeps a beacon's check at microseconds.
    return hashlib.sha256(secret.encode()).digest()
