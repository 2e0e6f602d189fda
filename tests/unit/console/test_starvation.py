"""Whether the machine was too busy for times to mean anything."""

from __future__ import annotations

import asyncio
import signal

import pytest

from console.starvation import PIECES, WORK_SECONDS, Pace, Sleeper, starved_seconds


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


def paced(*stretches: float) -> list[range]:
    """What is starved of pieces of work a second apart, each so many times as long as it needs."""
    pace = Pace()
    return [pace.starved_seconds(at, at + WORK_SECONDS * each) for at, each in enumerate(stretches, start=100)]


def test_work_that_takes_its_time_is_not_starved() -> None:
    assert not any(paced(*[1.2] * 20, 9.0, *[1.2] * 20)), "one hiccup is none"
    assert not any(paced(*[3.9] * 40))


def test_work_that_takes_too_long_on_average_is_starved() -> None:
    told = paced(*[1.2] * PIECES, *[6.0] * PIECES, *[1.2] * PIECES)
    assert [bool(each) for each in told[:PIECES]] == [False] * PIECES
    assert told[2 * PIECES - 1] == range(100 + 2 * PIECES - 1, 100 + 2 * PIECES)
    assert not told[-1]


def test_nothing_is_said_before_there_is_enough_to_say() -> None:
    assert not any(paced(*[50.0] * (PIECES - 1)))


async def test_a_sleeper_that_works_is_gone_after_the_measurement() -> None:
    sleeper = Sleeper(works=True)
    async with sleeper.sleeping():
        pass
    assert sleeper.process is not None
    assert sleeper.process.returncode is not None
