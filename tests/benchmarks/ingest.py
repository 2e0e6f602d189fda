"""Remote write: samples per second and CPU per million samples, beside Prometheus' own receiver and a bare COPY.

The same bodies (snappy, remote write 1.0) go by four connections, each with series of its own, as Prometheus' shards
do: to a gateway process on a real PostgreSQL, which answers once it has committed; to Debian's Prometheus as
remote-write receiver; and the same numbers by COPY into a table with the warehouse's key. Rounds alternate between
the three; the best of five unstarved rounds counts, and all are told.
`make bench NAME=ingest`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import cramjam
import httpx
import numpy as np
import psycopg

from console.starvation import Sleeper
from gateway.remote_write import MESSAGES, Format
from tests.benchmarks import _history
from tests.benchmarks._published import publish, say
from tests.integration.pushed import PROMETHEUS, TENANT, answers, pushing, until
from tests.ports import free_port
from warehouse import rollups
from warehouse.database import Warehouse

CONNECTIONS = 4
ROUNDS = 5
#: name -> (series of a connection, samples of each in a body, bodies of a connection in a round)
SHAPES = {"2000x1": (2000, 1, 25), "20x100": (20, 100, 25)}
#: Series and hours of a sample every 15 s, as most Prometheus scrape, that are rolled up to see what is left of them.
ROLLED_SERIES, ROLLED_HOURS = 500, 6
FILL = """
    insert into sample (tenant, retention, series, time, value)
    select 'pushed', 'hot', s, timestamptz '2026-01-01' + m * interval '15 seconds', s + m %% 7
    from generate_series(1, %s) s, generate_series(0, %s) m
"""
SIZE = "select sum(pg_total_relation_size(oid))::bigint from pg_class where relkind in ('r') and relname ~ %s"


@dataclass
class Party:
    """One that takes samples: where, with which headers, and whose CPU it is."""

    name: str
    url: str
    headers: dict[str, str]
    pids: list[int]

    def cpu(self) -> float:
        """Seconds of CPU of its processes, those that have ended included."""
        return sum(_history.cpu(pid) + sum(_history.cpu(child) for child in children(pid)) for pid in self.pids)


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and that live."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Sender:
    """Makes the bodies of one connection: time goes on from body to body."""

    def __init__(self, name: str, number: int, series: int, samples: int, start: datetime) -> None:
        self.series, self.samples = series, samples
        self._now = round(start.timestamp() * 1000)
        self._labels = [
            [
                _label("__name__", "http_requests_total"),
                _label("code", str(200 + at % 4)),
                _label("handler", f"/api/v1/part-{at // 40}"),
                _label("instance", f"10.0.{number}.{at // 20}:9100"),
                _label("job", f"edge-{name}"),  # shapes share no series: Prometheus takes none out of order
                _label("pod", f"edge-{number}-{at // 20:04d}-7d9f8b6c5d"),
                _label("series", str(at)),
            ]
            for at in range(series)
        ]

    def body(self) -> bytes:
        """The next body."""
        message = MESSAGES[Format.V1]()
        for at, labels in enumerate(self._labels):
            line = message.timeseries.add()
            line.labels.extend(labels)
            for step in range(self.samples):
                line.samples.add(value=float(self._now % 10_007 + at + step), timestamp=self._now + step * 1000)
        self._now += max(1, self.samples) * 1000
        return bytes(cramjam.snappy.compress_raw(message.SerializeToString()))


def _label(name: str, value: str) -> bytes:
    return b"".join(bytes([tag, len(text)]) + text for tag, text in ((10, name.encode()), (18, value.encode())))


async def push(client: httpx.AsyncClient, party: Party, bodies: list[bytes]) -> None:
    """One connection: a body after the other, each when the one before is acknowledged."""
    for body in bodies:
        answer = await client.post(party.url, content=body, headers=party.headers)
        if answer.status_code // 100 != 2:
            raise SystemExit(f"{party.name} answered {answer.status_code}: {answer.text[:200]}")


async def round_of(party: Party, bodies: list[list[bytes]], samples: int) -> dict[str, float]:
    """All connections at once; samples per second, and CPU seconds of the receiver per million samples."""
    async with httpx.AsyncClient(timeout=60) as client:
        cpu, began = party.cpu(), perf_counter()
        await asyncio.gather(*(push(client, party, each) for each in bodies))
        took = perf_counter() - began
    return {"per_s": samples / took, "cpu_s_per_million": (party.cpu() - cpu) / samples * 1e6}


def copied(url: str, series: int, steps: int, round_: int) -> dict[str, float]:
    """A bare COPY of `series` x `steps` rows into a table with the warehouse's key, in the order of time, committed."""
    began_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=round_)
    with psycopg.connect(url) as db, db.cursor() as cursor:
        cursor.execute(
            "create table if not exists bare (tenant text, retention text, series bigint, time timestamptz, "
            "value double precision, primary key (tenant, retention, series, time))"
        )
        db.commit()
        ids = np.random.default_rng(series).integers(0, 2**62, series).tolist()  # as ours: hashes
        times = [(began_at + timedelta(seconds=step)).isoformat() for step in range(steps)]
        lines = b"".join(
            f"bench\thot\t{id_}\t{time}\t{at}.5\n".encode() for time in times for at, id_ in enumerate(ids)
        )
        began = perf_counter()
        with cursor.copy("copy bare from stdin") as copy:
            copy.write(lines)
        db.commit()
        return {"per_s": series * steps / (perf_counter() - began)}


@asynccontextmanager
async def receiver(folder: Path) -> AsyncIterator[Party | None]:
    """Debian's Prometheus as remote-write receiver; None where there is none."""
    if PROMETHEUS is None:
        yield None
        return
    port = free_port()
    folder.mkdir()
    (folder / "prometheus.yml").write_text("global: {}\n")
    command = [PROMETHEUS, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}"]
    command += ["--web.enable-remote-write-receiver", "--storage.tsdb.path=data", "--log.level=error"]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder)
    try:
        await until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), 60, "Prometheus is ready")
        yield Party("prometheus", f"http://127.0.0.1:{port}/api/v1/write", HEADERS, [process.pid])
    finally:
        process.terminate()
        await process.wait()


HEADERS = {
    "content-type": "application/x-protobuf",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
}


async def shape(name: str, parties: list[Party], admin: str, sleeper: Sleeper) -> dict[str, Any]:
    """Rounds of one shape, alternating; the best of each party, all rounds, and the bytes that a sample takes."""
    series, samples, count = SHAPES[name]
    senders = [
        Sender(name, number, series, samples, datetime.now(UTC) - timedelta(hours=24)) for number in range(CONNECTIONS)
    ]
    total = CONNECTIONS * count * series * samples
    found: dict[str, list[dict[str, float]]] = {who: [] for who in (*(party.name for party in parties), "copy")}
    void = written = 0
    size = asked(admin, SIZE, ["^(sample_hot|delivery)"])
    while len(found["copy"]) < ROUNDS and void < 3 * ROUNDS:
        bodies = [[sender.body() for _ in range(count)] for sender in senders]
        starved, results = sleeper.starved_s, {}
        for party in parties:
            results[party.name] = await round_of(party, bodies, total)
        round_ = len(found["copy"]) + void
        results["copy"] = await asyncio.to_thread(copied, admin, CONNECTIONS * series, count * samples, round_)
        written += total
        if sleeper.starved_s > starved:
            void += 1
            continue
        for who, figures in results.items():
            found[who].append(figures)
        say(f"{name}: " + ", ".join(f"{who} {figures['per_s']:,.0f}/s" for who, figures in results.items()))
    best = {who: max(rounds, key=lambda each: each["per_s"]) for who, rounds in found.items()}
    return {
        "best": {who: rounded(figures) for who, figures in best.items()},
        "rounds_per_s": {who: [round(each["per_s"]) for each in rounds] for who, rounds in found.items()},
        "void_rounds": void,
        "samples_per_round": total,
        "bytes_per_sample": round((asked(admin, SIZE, ["^(sample_hot|delivery)"]) - size) / written, 1),
        "ratios": {
            f"to_{who}": round(best["tonewatch"]["per_s"] / best[who]["per_s"], 3) for who in best if who != "tonewatch"
        },
    }


async def rolled_up(warehouse: Warehouse, admin: str) -> float:
    """Bytes that a sample still takes when only its five minutes' roll-up is left."""
    steps = ROLLED_HOURS * 240
    with psycopg.connect(admin, autocommit=True) as db:
        db.execute(FILL, [ROLLED_SERIES, steps - 1])
    size, start = asked(admin, SIZE, ["^rollup$"]), datetime(2026, 1, 1, tzinfo=UTC)
    async with warehouse.as_tenant(TENANT) as db:
        made = await rollups.make(TENANT, db, start, start + timedelta(hours=ROLLED_HOURS))
    assert made == ROLLED_SERIES * ROLLED_HOURS * 12, made
    return round((asked(admin, SIZE, ["^rollup$"]) - size) / (ROLLED_SERIES * steps), 2)


def rounded(figures: dict[str, float]) -> dict[str, float]:
    """To what can be read."""
    return {name: round(value, 2) for name, value in figures.items()}


def asked(url: str, query: str, values: list[Any]) -> int:
    """One whole number."""
    with psycopg.connect(url, autocommit=True) as db:
        found = db.execute(query, values).fetchone()
    assert found is not None
    return int(found[0])


async def bench() -> tuple[dict[str, Any], float]:
    """All shapes; and the bytes of a sample that is rolled up."""
    async with (
        pushing() as pushed,
        receiver(pushed.folder / "prometheus") as theirs,
        Sleeper().sleeping() as sleeper,
    ):
        assert pushed.gateway is not None
        assert pushed.postgres.process is not None
        headers = HEADERS | {"authorization": f"Bearer {pushed.key}"}
        pids = [pushed.gateway.pid, pushed.postgres.process.pid]
        parties = [Party("tonewatch", f"{pushed.gateway_url}/api/v1/write", headers, pids)]
        if theirs is None:
            say("prometheus is not installed here: no ratio to its receiver")
        else:
            parties.append(theirs)
        admin = pushed.postgres.url("tonewatch")
        shapes = {name: await shape(name, parties, admin, sleeper) for name in SHAPES}
        return shapes, await rolled_up(pushed.warehouse, admin)


def page(document: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        "# Ingest",
        "",
        f"{document['machine']}, {document['date']}; {document['data']}. Best of five rounds in turns; "
        "made by `make bench NAME=ingest`.",
        "",
        "| series x samples | by | samples/s | CPU s per million | ratio of ours |",
        "|---|---|---|---|---|",
    ]
    for name, shape in document["details"].items():
        for who, figures in shape["best"].items():
            ratio = shape["ratios"].get(f"to_{who}", "")
            cpu = figures.get("cpu_s_per_million", "")
            lines.append(f"| {name} | {who} | {figures['per_s']:,.0f} | {cpu} | {ratio} |")
    lines += [
        "",
        "Bytes per sample, hot: "
        + ", ".join(f"{n} {s['bytes_per_sample']}" for n, s in document["details"].items())
        + f". Rolled up, of a sample every 15 s: {document['figures']['bytes_per_sample_rolled_up']}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run it and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    began = monotonic()
    shapes, rolled = asyncio.run(bench())
    ratios = shapes["2000x1"]["ratios"]
    document = {
        "name": "ingest",
        "figures": {
            "receiver_ratio": ratios.get("to_prometheus"),
            "copy_ratio": ratios["to_copy"],
            "bytes_per_sample": shapes["2000x1"]["bytes_per_sample"],
            "bytes_per_sample_rolled_up": rolled,
        },
        "baselines": {who: shapes["2000x1"]["best"].get(who) for who in ("prometheus", "copy")},
        "goals": {"receiver_ratio": "must 0.1, goal 0.3"},
        "details": shapes,
        "data": "made: counters of edges with seven labels each, four connections",
        "seed": None,
    }
    publish(document, monotonic() - began, options.json, page)


if __name__ == "__main__":
    main()
