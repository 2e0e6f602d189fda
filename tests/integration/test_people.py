"""People at the door: a real identity provider's documents over HTTP, real signatures, a real PostgreSQL."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from console.tenancy import Change, Tenancy
from gateway.api.app import create_app
from tests.conftest import new_tenant
from tonewatch.clock import ManualClock
from tonewatch.errors import SettingsError
from warehouse.cache import Cache
from warehouse.database import Warehouse

pytestmark = pytest.mark.integration
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
AUDIENCE = "tonewatch"


class IdentityProvider:
    """An OpenID Connect provider: discovery, keys, and tokens as one would issue them."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"one": rsa.generate_private_key(public_exponent=65537, key_size=2048)}
        self.asked = 0
        self.away = False
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                body = json.dumps(provider.document(self.path)).encode()
                self.send_response(503 if provider.away else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}/realm"
        self.calls_itself = self.issuer
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def document(self, path: str) -> dict[str, Any]:
        if path.endswith("openid-configuration"):
            return {"issuer": self.calls_itself, "jwks_uri": f"{self.issuer}/keys"}
        return {"keys": [self.shown(name, key) for name, key in self.keys.items()]}

    @staticmethod
    def shown(name: str, key: Any) -> dict[str, Any]:
        is_rsa = isinstance(key, rsa.RSAPrivateKey)
        algorithm: Any = jwt.algorithms.RSAAlgorithm if is_rsa else jwt.algorithms.ECAlgorithm
        told: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
        return told | {"kid": name, "use": "sig", "alg": "RS256" if is_rsa else "ES256"}

    def token(self, key: str = "one", algorithm: str = "RS256", secret: Any = None, **claims: Any) -> str:
        moment = int(START.timestamp())
        told = {"iss": self.issuer, "aud": AUDIENCE, "sub": "u-1", "iat": moment, "exp": moment + 300}
        told |= {"preferred_username": "ann", "roles": ["listeners-desk"]} | claims
        kept = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(kept, secret or self.keys[key], algorithm=algorithm, headers={"kid": key})


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    provider = IdentityProvider()
    yield provider
    provider.server.shutdown()
    provider.server.server_close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
async def door(warehouse: Warehouse, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(warehouse, Cache(None), b"k" * 32, clock=clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


@pytest.fixture
async def tenant(warehouse: Warehouse, clock: ManualClock, provider: IdentityProvider) -> str:
    slug = await new_tenant(warehouse)
    people = {
        "issuer": provider.issuer,
        "audience": AUDIENCE,
        "roles": {"viewer": ["listeners-desk", "group.with.dots"], "operator": ["night shift"]},
    }
    change = Change(set=(f"people={json.dumps(people)}",))
    await Tenancy(warehouse, clock).change(slug, change, "ann", "our people sign in")
    return slug


async def ask(door: httpx.AsyncClient, tenant: str, token: str, path: str = "/v1/live") -> int:
    headers = {"authorization": f"Bearer {token}", "tonewatch-tenant": tenant}
    return (await door.get(path, headers=headers)).status_code


LET_IN = 404  # /v1/live without a picture


async def test_a_person_comes_in_with_a_token_of_the_tenants_provider(
    door: httpx.AsyncClient, tenant: str, provider: IdentityProvider
) -> None:
    assert await ask(door, tenant, provider.token()) == LET_IN
    assert await ask(door, tenant, provider.token(roles="group.with.dots")) == LET_IN
    assert await ask(door, tenant, provider.token(roles=["night shift"])) == LET_IN
    asked = provider.asked
    assert [await ask(door, tenant, provider.token()) for _ in range(5)] == [LET_IN] * 5
    assert provider.asked == asked, "its keys are kept"


@pytest.mark.parametrize("roles", [None, [], ["another"], [1, {}], "another", {"listeners-desk": 1}, 7])
async def test_a_person_without_a_role_is_told_so(
    door: httpx.AsyncClient, tenant: str, provider: IdentityProvider, roles: Any
) -> None:
    assert await ask(door, tenant, provider.token(roles=roles)) == 403


async def test_a_token_that_does_not_hold_is_refused(
    door: httpx.AsyncClient, tenant: str, provider: IdentityProvider
) -> None:
    moment = int(START.timestamp())
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = provider.keys["one"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    good = provider.token()
    for name, token in {
        "ended": provider.token(exp=moment - 31),
        "no end": provider.token(exp=None),
        "end is no number": provider.token(exp="tomorrow"),
        "end beyond every calendar": provider.token(exp=1e300),
        "not yet": provider.token(nbf=moment + 31),
        "other audience": provider.token(aud="another"),
        "other issuer": provider.token(iss="http://127.0.0.1:1/other"),
        "nobody": provider.token(sub=None),
        "stranger's signature": provider.token(secret=stranger),
        "shared secret": provider.token(algorithm="HS256", secret="s" * 64),
        "unsigned": jwt.encode({"sub": "u-1"}, None, algorithm="none"),
        "changed": good[:-6] + ("AAAAAA" if not good.endswith("AAAAAA") else "BBBBBB"),
        "half": good[: len(good) // 2],
        "no token": "x.y.z",
        "endless": "e" * 20_000,
        "its public key as a secret": good.rsplit(".", 1)[0] + "." + pem.hex()[:40],
    }.items():
        assert await ask(door, tenant, token) == 401, name
    assert await ask(door, tenant, provider.token(exp=moment - 29)) == LET_IN, "two clocks may differ a little"


async def test_a_token_is_good_at_its_own_tenant_alone(
    door: httpx.AsyncClient, tenant: str, provider: IdentityProvider, warehouse: Warehouse
) -> None:
    other = await new_tenant(warehouse)
    for name in (other, "nobody-is-called-that", "Bad Name", "x" * 200, ""):
        assert await ask(door, name, provider.token()) == 401, name


async def test_a_token_ends_while_a_connection_is_hot(
    door: httpx.AsyncClient, tenant: str, provider: IdentityProvider, clock: ManualClock
) -> None:
    token = provider.token()
    assert await ask(door, tenant, token) == LET_IN
    clock.advance(331)
    assert await ask(door, tenant, token) == 401


async def test_a_new_key_of_the_provider_is_asked_for_but_not_by_every_made_up_one(
    door: httpx.AsyncClient, tenant: str, provider: IdentityProvider, clock: ManualClock
) -> None:
    assert await ask(door, tenant, provider.token()) == LET_IN
    provider.keys["two"] = ec.generate_private_key(ec.SECP256R1())
    clock.advance(31)
    assert await ask(door, tenant, provider.token("two", "ES256")) == LET_IN
    asked = provider.asked
    for number in range(20):
        made_up = jwt.encode({"sub": "x"}, provider.keys["one"], algorithm="RS256", headers={"kid": f"no-{number}"})
        assert await ask(door, tenant, made_up) == 401
    assert provider.asked == asked


async def test_a_provider_that_is_away_keeps_nobody_out_at_once(
    door: httpx.AsyncClient, tenant: str, provider: IdentityProvider, clock: ManualClock
) -> None:
    assert await ask(door, tenant, provider.token()) == LET_IN
    provider.away = True
    clock.advance(7200)
    assert await ask(door, tenant, provider.token(exp=int(START.timestamp()) + 90_000)) == LET_IN
    clock.advance(80_000)
    assert await ask(door, tenant, provider.token(exp=int(START.timestamp()) + 90_000)) == 503


async def test_a_provider_that_calls_itself_otherwise_is_not_believed(
    door: httpx.AsyncClient, tenant: str, provider: IdentityProvider
) -> None:
    provider.calls_itself = "http://127.0.0.1:1/another"
    assert await ask(door, tenant, provider.token()) == 503


@pytest.mark.parametrize(
    "people",
    [
        {"issuer": "http://idp.example", "audience": "a", "roles": {"viewer": ["x"]}},
        {"issuer": "https://idp.example", "audience": "a", "roles": {"king": ["x"]}},
        {"issuer": "https://idp.example", "audience": "a", "roles": {}},
        {"issuer": "https://idp.example", "audience": "", "roles": {"viewer": ["x"]}},
    ],
)
async def test_a_provider_that_is_none_is_refused_as_a_setting(
    warehouse: Warehouse, tenant: str, people: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError, match="people"):
        await Tenancy(warehouse).change(tenant, Change(set=(f"people={json.dumps(people)}",)), "ann", "")
