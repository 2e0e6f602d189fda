"""Whatever is sent to the gateway, it neither fails nor grows: schemathesis over /openapi.json, bytes at remote write.

The gateway is a process of its own on a real PostgreSQL, without Redis, so that no rate limit turns anything away. Of
each operation that the description names, schemathesis makes requests that fit it and requests that do not; a third
of all are remote writes of both formats, damaged in every layer. An answer of 5xx, or none, is an error, with the
request written down. `make bench NAME=fuzz`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import cramjam
import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from console.keyring import SCOPES
from gateway.api.beacons import EXAMPLE
from gateway.api.door import Limits
from gateway.remote_write import Format
from tests.benchmarks._published import publish, say
from tests.integration.pushed import TENANT, Pushed, pushing
from tests.unit.gateway.test_remote_write import body_v1, body_v2, series_v1
from tonewatch.clock import SYSTEM
from warehouse import keys

REQUESTS = 100_000
#: Examples of one operation and mode at a time: Hypothesis remembers what it made, and slows down by it.
ROUND = 300
#: Share of the requests that are bytes for remote write.
BYTES = 1 / 3
#: The gateway may not grow by more, from the time when every route has been asked.
GROWTH_MIB = 64

schemathesis.openapi.media_type("application/cmcd", st.one_of(st.binary(max_size=300), st.just(EXAMPLE.encode())))
schemathesis.openapi.media_type("application/x-protobuf", st.binary(max_size=300))


@dataclass
class Tally:
    """What was asked and how it was answered. errors: the request and what came."""

    statuses: Counter[int] = field(default_factory=Counter)
    routes: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """How many."""
        return sum(self.statuses.values())

    def count(self, route: str, status: int, what: Callable[[], str]) -> None:
        """One answer; status 0: none came."""
        self.statuses[status] += 1
        self.routes[route] += 1
        if status == 0 or status >= 500:
            self.errors.append(f"{status} {route}: {what()[:600]}")


def by_description(base: str, key: str, wanted: int, chance: int, tally: Tally, watch: Callable[[], None]) -> None:
    """At least `wanted` requests, of each operation and mode in turns."""
    schema = schemathesis.openapi.from_url(f"{base}/openapi.json")
    operations = []
    for each in schema.get_all_operations():
        assert isinstance(each, Ok), each
        operations.append(each.ok())
    headers = {"authorization": f"Bearer {key}"}
    turn, until = 0, tally.requests + wanted
    examples = max(2, min(ROUND, wanted // (2 * len(operations))))
    with requests.Session() as session:
        while tally.requests < until:
            for operation in operations:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    turn += 1
                    _ask(operation, mode, session, headers, examples, chance * 100_003 + turn, tally)
            watch()


def _ask(
    operation: Any,
    mode: GenerationMode,
    session: requests.Session,
    headers: dict[str, str],
    examples: int,
    chance: int,
    tally: Tally,
) -> None:
    @seed(chance)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        route = f"{case.method} {operation.path}"
        try:
            status = case.call(session=session, headers=headers, timeout=30).status_code
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader, UnicodeError, ValueError):
            return  # no client could send it
        except requests.RequestException:
            tally.count(route, 0, case.as_curl_command)
            return
        tally.count(route, status, case.as_curl_command)

    # Nothing can be wrong about a route without parameters.
    with suppress(Unsatisfiable):
        ask()


def damaged(chance: random.Random) -> tuple[bytes, str]:
    """A remote write, mostly with something wrong in it, and the content type it comes with."""
    now = round(SYSTEM.now().timestamp() * 1000)
    odd_times = [now, now, now, now - 1, 0, -1, 2**62, 4_102_444_800_000]
    odd_values = [1.0, -0.0, float("nan"), float("inf"), 1e308, 5e-324]
    odd_texts = ["up", "", "é" * 50, "x" * 5000, "a\x00b", "__name__", "tonewatch_entity", "tenant", "\ud7ff", "💥"]

    def labels() -> list[tuple[str, str]]:
        pairs = [("__name__", chance.choice(odd_texts))] if chance.random() < 0.9 else []
        return pairs + [(chance.choice(odd_texts), chance.choice(odd_texts)) for _ in range(chance.randrange(6))]

    def points() -> list[tuple[int, float]]:
        return [(chance.choice(odd_times), chance.choice(odd_values)) for _ in range(chance.randrange(5))]

    count = chance.randrange(4)
    if chance.random() < 0.5:
        body, form = body_v1(*(series_v1(labels(), points()) for _ in range(count))), Format.V1
    else:
        several = [(labels(), points(), chance.randrange(12), chance.choice(odd_texts)) for _ in range(count)]
        body, form = body_v2(*several), Format.V2
    inside = bytearray(cramjam.snappy.decompress_raw(body)) if body else bytearray()
    how = chance.randrange(8)
    if how in (1, 2, 3):  # the message
        inside = hurt(inside, chance)
        body = bytes(cramjam.snappy.compress_raw(bytes(inside)))
    elif how == 4:  # the block around it
        body = bytes(hurt(bytearray(body), chance))
    elif how == 5:  # a head that promises anything
        body = bytes(chance.randrange(128, 256) for _ in range(chance.randrange(1, 6))) + b"\x7f" + body
    elif how == 6:
        body = chance.randbytes(chance.randrange(200))
    told = chance.choice([form, form, form, form, Format.V1, Format.V2, "x", ""])
    return body, f"application/x-protobuf;proto={told}"


def hurt(content: bytearray, chance: random.Random) -> bytearray:
    """Bits turned over, bytes cut out, put in or repeated, or the end cut off."""
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(content) + 1)
        match chance.randrange(5):
            case 0 if place < len(content):
                content[place] ^= 1 << chance.randrange(8)
            case 1:
                del content[place : place + chance.randrange(1, 8)]
            case 2:
                content[place:place] = chance.randbytes(chance.randrange(1, 8))
            case 3:
                content[place:place] = content[: chance.randrange(1, 40)]
            case _:
                del content[place:]
    return content


async def by_bytes(base: str, key: str, wanted: int, chance: int, tally: Tally, watch: Callable[[], None]) -> None:
    """`wanted` damaged remote writes, as many at a time as a gateway decodes: it sends more away with 503, rightly."""
    at_once = Limits().writes_at_once
    rolls = random.Random(chance)
    headers = {"authorization": f"Bearer {key}", "content-encoding": "snappy"}
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:

        async def send() -> None:
            body, form = damaged(rolls)
            try:
                answer = await client.post("/api/v1/write", content=body, headers=headers | {"content-type": form})
            except httpx.TransportError:
                tally.count("bytes", 0, lambda: f"{form} {body.hex()}")
                return
            tally.count("bytes", answer.status_code, lambda: f"{form} {body.hex()}")

        for start in range(0, wanted, at_once):
            await asyncio.gather(*(send() for _ in range(min(at_once, wanted - start))))
            if start % 4000 == 0:
                watch()


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


async def bench(wanted: int, chance: int, say: Callable[[str], None]) -> Tally:
    """Everything against one gateway."""
    async with pushing() as stage:
        key = await _key(stage)
        tally = Tally()
        assert stage.gateway is not None
        pid = stage.gateway.pid

        def watch() -> None:
            tally.memory_mib.append(round(rss_mib(pid), 1))
            say(f"{tally.requests:,} requests, {len(tally.errors)} errors, {tally.memory_mib[-1]} MiB")

        # Once around, so that what is loaded and kept once is no growth.
        await asyncio.to_thread(by_description, stage.gateway_url, key, min(wanted // 20, 3000), chance, tally, watch)
        await by_bytes(stage.gateway_url, key, min(wanted // 20, 3000), chance, tally, watch)
        tally.memory_mib.clear()
        watch()
        left = wanted - tally.requests
        await by_bytes(stage.gateway_url, key, round(left * BYTES), chance + 1, tally, watch)
        left = wanted - tally.requests
        await asyncio.to_thread(by_description, stage.gateway_url, key, left, chance + 1, tally, watch)
        if stage.gateway.returncode is not None:
            tally.errors.append(f"the gateway ended with {stage.gateway.returncode}")
        return tally


async def _key(stage: Pushed) -> str:
    async with stage.warehouse.as_tenant(TENANT) as db:
        return await keys.create(TENANT, db, purpose="fuzz", scopes=SCOPES, now=SYSTEM.now())


def growth_mib(tally: Tally) -> float:
    """From the first to the greatest."""
    return round(max(tally.memory_mib) - tally.memory_mib[0], 1)


def page(document: dict[str, Any]) -> str:
    """The same for people."""
    figures, details = document["figures"], document["details"]
    routes = "\n".join(f"| {route} | {count:,} |" for route, count in sorted(details["routes"].items()))
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(details["statuses"].items()))
    return (
        f"# Fuzz\n\n{document['machine']}, {document['date']}, seed {document['seed']}. "
        "Made by `make bench NAME=fuzz`.\n\n"
        f"{figures['requests']:,} requests, **{figures['errors_5xx']} errors** (5xx, or no answer). "
        f"Answers: {statuses}. The gateway's memory: {details['memory_mib'][0]} MiB when every route had been asked, "
        f"{max(details['memory_mib'])} at most, {details['memory_mib'][-1]} at the end.\n\n"
        f"| route | requests |\n|---|---|\n{routes}\n"
    )


def main() -> int:
    """Run it; 1 if there was an error, or the gateway grew."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"how many (default {REQUESTS})")
    parser.add_argument("--seed", type=int, default=1, help="decides what is asked (default 1)")
    options = parser.parse_args()
    began = monotonic()
    tally = asyncio.run(bench(options.requests, options.seed, say))
    document = {
        "name": "fuzz",
        "figures": {"requests": tally.requests, "errors_5xx": len(tally.errors), "growth_mib": growth_mib(tally)},
        "baselines": {},
        "goals": {"requests": REQUESTS, "errors_5xx": 0, "growth_mib": GROWTH_MIB},
        "details": {
            "routes": dict(tally.routes),
            "statuses": {str(status): count for status, count in tally.statuses.items()},
            "errors": tally.errors[:50],
            "memory_mib": tally.memory_mib,
        },
        "data": "made by schemathesis from /openapi.json, and damaged remote writes",
        "seed": options.seed,
    }
    publish(document, monotonic() - began, options.json, page)
    return int(bool(tally.errors) or growth_mib(tally) > GROWTH_MIB)


if __name__ == "__main__":
    sys.exit(main())
