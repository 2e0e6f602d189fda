"""What listeners choose: each has channel and rendition of its own, until most come to favour one of them for good."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from soundstage.errors import Malformed
from soundstage.plan import RENDITIONS, Plan, Rendition, write_atomically

HOURS = 24.0
#: Steps of the golden section fill the unit interval evenly: any row of players has close to the share that is asked.
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Favourite:
    """A share (0 to 1) of the listeners takes this channel and rendition, each day from one hour of it to another."""

    channel: str
    rendition: str
    share: float
    from_hour: float = 0.0
    to_hour: float = HOURS

    def holds(self, hour: float) -> bool:
        """Whether it does at that hour of the day; 22 to 4 goes past midnight."""
        if self.from_hour < self.to_hour:
            return self.from_hour <= hour < self.to_hour
        return hour >= self.from_hour or hour < self.to_hour


def check(asked: Any, plan: Plan) -> Favourite:
    """The favourite that was asked for; raises Malformed for what the platform has not, or no share or hours."""
    try:
        told = {name: float(asked[name]) for name in ("share", "from_hour", "to_hour") if name in asked}
        wanted = Favourite(str(asked["channel"]), str(asked["rendition"]), **told)
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed('a favourite is {"channel": NAME, "rendition": NAME, "share": NUMBER}, and hours') from error
    renditions = [each.name for each in RENDITIONS]
    if wanted.channel not in plan.channels or wanted.rendition not in renditions:
        raise Malformed(f"channels are {', '.join(plan.channels)}, renditions {', '.join(renditions)}")
    if not 0 <= wanted.share <= 1 or not (0 <= wanted.from_hour < HOURS and 0 < wanted.to_hour <= HOURS):
        raise Malformed("a share lies between 0 and 1, the hours of a day between 0 and 24")
    return wanted


def choice(number: int, plan: Plan, favourite: tuple[str, str, float] | None) -> tuple[str, Rendition]:
    """What player `number` listens to; favourite: channel, rendition and share of what is favoured now."""
    if favourite is not None and number * GOLDEN % 1 < favourite[2]:
        return favourite[0], next(each for each in RENDITIONS if each.name == favourite[1])
    return plan.channels[number % len(plan.channels)], RENDITIONS[number // len(plan.channels) % len(RENDITIONS)]


class Habit:
    """What is favoured, kept in `path`, so that a restart changes nothing. Nothing is, at first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.favourite: Favourite | None = None
        with contextlib.suppress(FileNotFoundError):
            self.favourite = Favourite(**json.loads(path.read_text()))

    def take(self, favourite: Favourite) -> None:
        """From now on, and for good."""
        self.favourite = favourite
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(asdict(favourite)).encode())

    def told(self, hour: float) -> tuple[str, str, float] | None:
        """Channel, rendition and share of what is favoured at that hour of the day; None: nothing is."""
        if self.favourite is None or not self.favourite.holds(hour):
            return None
        return self.favourite.channel, self.favourite.rendition, self.favourite.share
