"""People, by the token of their tenant's identity provider: OpenID Connect Core 1.0, RFC 7519, and RFC 8725's rules.

A token is read by the issuer that the tenant's own settings name, never by one that the token names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import jwt
import structlog

from gateway.api.answers import refused
from gateway.api.profiles import Profiles
from gateway.http import client, fetch
from tonewatch.clock import Clock
from tonewatch.errors import SourceError
from tonewatch.records import TENANT_SLUG
from tonewatch.roles import held
from tonewatch.settings import People as Provider

#: Signatures by a private key alone: with a shared secret whoever checks could also sign (RFC 8725, 3.1).
ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
#: Two machines' clocks.
LEEWAY_S: Final = 30.0
#: How long a provider's keys are; and, while it does not answer, still.
_KEYS_S: Final = 600.0
_KEYS_AWAY_S: Final = 24 * 3600.0
#: A key that is not known makes the provider be asked again, but not by each token that somebody makes up.
_ASK_AGAIN_S: Final = 30.0
_DEADLINE_S: Final = 5.0
_MAX_BYTES: Final = 256 * 1024
_MAX_TOKEN: Final = 16 * 1024
_MAX_NAME: Final = 120

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who came in: `who` as it stands with what they do; `may`: every scope that their key or role holds."""

    tenant: str
    who: str
    may: frozenset[str]


@dataclass(slots=True)
class _Keys:
    """A provider's keys by id, as they were at `read` (monotonic); `asked`: when it was last tried."""

    by_id: dict[str, jwt.PyJWK] = field(default_factory=dict)
    read: float = float("-inf")
    asked: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class People:
    """Reads people's tokens, for all tenants of this process."""

    def __init__(self, profiles: Profiles, clock: Clock) -> None:
        self._profiles, self._clock = profiles, clock
        self._keys: dict[str, _Keys] = {}

    async def person(self, tenant: str, token: str) -> Caller:
        """Who holds `token`, at the provider of `tenant`.

        Raises HTTPException: 401 no token of theirs, or one that has ended; 503 the provider does not answer.
        Raises WarehouseAway, UnknownTenant.
        """
        if not TENANT_SLUG.fullmatch(tenant):
            raise _wrong("tonewatch-tenant must name the tenant whose people you belong to")
        provider = (await self._profiles.of(tenant)).profile.people
        if provider is None:
            raise _wrong("people of this tenant cannot come in: no identity provider is set (people.issuer)")
        claims = await self._claims(provider, token)
        told = claims.get(provider.roles_claim, _inside(claims, provider.roles_claim))
        theirs = {told} if isinstance(told, str) else {each for each in _list(told) if isinstance(each, str)}
        roles = [role for role, groups in provider.roles.items() if theirs & set(groups)]
        return Caller(tenant, _name(claims), held(roles))

    async def _claims(self, provider: Provider, token: str) -> Mapping[str, Any]:
        """What the token says, its signature, issuer, audience and times checked."""
        if len(token) > _MAX_TOKEN:
            raise _wrong("the token is too long")
        try:
            head = jwt.get_unverified_header(token)
            algorithm = str(head.get("alg"))
            if algorithm not in ALGORITHMS:
                raise _wrong("the token is not signed by a private key")
            key = await self._key(provider.issuer, str(head.get("kid", "")))
            if key.algorithm_name != algorithm:
                raise _wrong("the token is signed by another algorithm than its key is for")
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=provider.audience,
                issuer=provider.issuer,
                # Times are ours to check: by the one clock.
                options={"require": ["exp", "sub"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            log.info("token refused", error=str(error))
            raise _wrong("the token is not one of this tenant's identity provider") from error
        self._timely(claims)
        return claims

    def _timely(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now()
        if not now < _moment(claims.get("exp"), now, LEEWAY_S):
            raise _wrong("the token has ended: sign in again")
        if "nbf" in claims and now < _moment(claims["nbf"], now, -LEEWAY_S):
            raise _wrong("the token is not valid yet")

    async def _key(self, issuer: str, id_: str) -> jwt.PyJWK:
        """The issuer's key of that id."""
        keys = self._keys.setdefault(issuer, _Keys())
        async with keys.lock:
            now = self._clock.monotonic()
            stale = now - keys.read > _KEYS_S
            if (stale or id_ not in keys.by_id) and now - keys.asked > _ASK_AGAIN_S:
                keys.asked = now
                try:
                    keys.by_id, keys.read = await _ask(issuer, self._clock), now
                except SourceError as error:
                    log.warning("identity provider away", issuer=issuer, error=str(error))
            if now - keys.read > _KEYS_AWAY_S:
                raise refused(503, "the identity provider does not answer, come again", retry_after="30")
        if id_ not in keys.by_id:
            raise _wrong("the token is signed by a key that the identity provider does not show")
        return keys.by_id[id_]


async def _ask(issuer: str, clock: Clock) -> dict[str, jwt.PyJWK]:
    """The keys that the issuer shows now. Raises SourceError."""
    async with client(timeout_s=_DEADLINE_S) as session:
        told = await _document(session, f"{issuer.rstrip('/')}/.well-known/openid-configuration", clock)
        address = str(told.get("jwks_uri", ""))
        if told.get("issuer") != issuer:
            raise SourceError(f"{issuer} calls itself {str(told.get('issuer'))[:200]!r}", kind="garbage")
        if issuer.startswith("https:") and not address.startswith("https:"):
            raise SourceError(f"{issuer} shows its keys at {address[:200]!r}, not by https", kind="address")
        shown = await _document(session, address, clock)
    try:
        found = jwt.PyJWKSet.from_dict(dict(shown)).keys
    except (jwt.PyJWTError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"{issuer} shows no keys that can be read: {error}", kind="garbage") from error
    return {str(key.key_id or ""): key for key in found if key.public_key_use in (None, "sig")}


async def _document(session: Any, url: str, clock: Clock) -> Mapping[str, Any]:
    fetched = await fetch(session, url, deadline_s=_DEADLINE_S, max_bytes=_MAX_BYTES, clock=clock)
    try:
        told = fetched.document()
    except ValueError as error:
        raise SourceError(f"{url} answered no JSON", kind="garbage") from error
    if not isinstance(told, dict):
        raise SourceError(f"{url} answered no JSON object", kind="garbage")
    return told


def _inside(claims: Mapping[str, Any], path: str) -> Any:
    """What stands at a.b.c; None: nothing."""
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _list(told: Any) -> list[Any]:
    return told if isinstance(told, list) else []


def _moment(told: Any, now: datetime, later_s: float) -> datetime:
    """The time of a claim in seconds since 1970, `later_s` on."""
    if isinstance(told, bool) or not isinstance(told, int | float):
        raise _wrong("a time in the token is no number")
    try:
        return datetime.fromtimestamp(told + later_s, now.tzinfo)
    except (ValueError, OverflowError, OSError):
        raise _wrong("a time in the token is none") from None


def _name(claims: Mapping[str, Any]) -> str:
    """For the audit: the name that can be read, and the one that stays."""
    named = claims.get("preferred_username") or claims.get("email")
    told = f"{named} ({claims['sub']})" if isinstance(named, str) and named else str(claims["sub"])
    return "".join(each for each in told if each.isprintable())[:_MAX_NAME] or "?"


def _wrong(reason: str) -> Exception:
    return refused(401, reason, www_authenticate="Bearer")
