"""Some of the simulated listeners report by beacon (CMCD, version 2, event mode), as the gateway takes them."""

from __future__ import annotations

import numpy as np

from soundstage.beacons import Token, Value, line
from soundstage.simulator.telemetry import Simulation

#: A player reports this often, or with every reading where readings are rarer.
REPORT_S = 600.0
#: Of the time between two reports, a listener whom a fault reaches lacks sound for so much; another for none.
LACKING = 0.3


def beacons(of: Simulation) -> bytes:
    """A line per report, in the order of time."""
    wish = of.wish
    chance = np.random.default_rng([wish.seed, 15])
    edges = [part.id for part in of.platform.parts if part.stage == "edge"]
    hurt = _hurt(of)
    every = max(1, round(REPORT_S / wish.every_s))
    told: list[tuple[int, str]] = []
    for _ in range(wish.players):
        session = chance.bytes(8).hex()
        channel = f"channel:ch{int(chance.integers(1, of.platform.channels + 1))}"
        edge = str(chance.choice(edges))
        steps = np.arange(int(chance.integers(0, every)), wish.steps, every)
        lacking = np.zeros(len(steps), np.bool_)
        for first, until in hurt.get(channel, []) + hurt.get(edge, []):
            lacking |= (steps >= first) & (steps < until)
        buffers = chance.integers(5_000, 12_000, len(steps))
        starved = np.where(lacking, round(LACKING * every * wish.every_s * 1000), 0)
        fixed: dict[str, Value] = {
            "v": 2,
            "sid": session,
            "cid": channel[8:],
            "cdn": edge[5:],
            "e": Token("t"),
            "br": 128,
        }
        start = round(wish.start.timestamp() * 1000)
        for number, (step, gone, buffer) in enumerate(
            zip(steps.tolist(), starved.tolist(), buffers.tolist(), strict=True)
        ):
            time = start + round(step * wish.every_s * 1000)
            state = Token("r" if gone else "p")
            values = {**fixed, "sn": number, "ts": time, "sta": state, "bl": buffer, "bsd": gone, "mtp": 2_000}
            told.append((time, line(values)))
    told.sort()
    return "".join(f"{text}\n" for _, text in told).encode()


def _hurt(of: Simulation) -> dict[str, list[tuple[int, int]]]:
    """Channel or edge -> from and to step in which a fault takes sound from its listeners."""
    found: dict[str, list[tuple[int, int]]] = {}
    for placed in of.faults:
        for hit in placed.hits:
            entity = of.platform.parts[of.platform.lines[hit.line].part].id
            if placed.fault.direction == "worse" and entity.startswith(("channel:", "edge:")):
                found.setdefault(entity, []).append((hit.first, hit.until))
    return found
