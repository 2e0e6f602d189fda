"""Whether the machine was too busy for times to mean anything."""

from __future__ import annotations

import asyncio
import signal

import pytest

from console.starvation import Sleeper, starved_seconds


@pytest.mark.parametrize(
    ("due", "woke", "seconds"),
    [(10.0, 10.2, []), (10.0, 10.25, []), (10.0, 10.26, [10]), (10.9, 11.2, [10, 11]), (10.5, 13.1, [10, 11, 12, 13])],
)
def test_seconds_between_due_and_woken_are_starved(due: float, woke: float, seconds: list[int]) -> None:
    assert list(starved_seconds(due, woke)) == seconds


async def test_sleeper_is_gone_after_the_measurement() -> None:
    sleeper = Sleeper()
    async with sleeper.sleeping():
        pass
    assert sleeper.starved_s >= 0.0


async def test_sleeper_notices_that_it_was_frozen() -> None:
    sleeper = Sleeper()
    async with sleeper.sleeping():
        async with asyncio.timeout(20):
            while sleeper.starved_s < 1.0:
                assert sleeper.process is not None
                sleeper.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(0.6)  # the process must be late in real time: that is what is measured
                sleeper.process.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.2)
