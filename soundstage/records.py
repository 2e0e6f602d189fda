"""The players' own records: every stretch in which sound was due and absent. They lie outside what monitoring sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from soundstage.errors import Malformed


@dataclass(frozen=True)
class Stretch:
    """Sound due and absent for one player; `end` is None while it lasts. A later line of the same id replaces it."""

    id: str
    player: int
    session: str
    channel: str
    edge: str
    kind: str
    start: datetime
    end: datetime | None

    def line(self) -> str:
        """As one JSON line."""
        return json.dumps(asdict(self), default=lambda moment: moment.isoformat()) + "\n"


def moment(unix_s: float) -> datetime:
    """Unix seconds as a date in UTC."""
    return datetime.fromtimestamp(unix_s, UTC)


def _stretch(text: str) -> Stretch:
    values = json.loads(text)
    end = datetime.fromisoformat(values["end"]) if values["end"] else None
    return Stretch(**{**values, "start": datetime.fromisoformat(values["start"]), "end": end})


def _lines(path: Path) -> Iterator[str]:
    """The whole lines of a file; one that is being written right now is left out."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return
    yield from text[: text.rfind("\n") + 1].splitlines()


def read(path: Path) -> list[Stretch]:
    """Every stretch in its newest form; raises Malformed for a file that is none of ours."""
    found: dict[str, Stretch] = {}
    for number, text in enumerate(_lines(path), 1):
        try:
            stretch = _stretch(text)
        except (ValueError, KeyError, TypeError) as error:
            raise Malformed(f"{path}, line {number}, is no player's record: {error}") from error
        found[stretch.id] = stretch
    return list(found.values())


def close_left_open(path: Path) -> None:
    """End the stretches of a players process that was killed: its listeners went with it, when it last wrote."""
    if not path.exists():
        return
    ended = moment(path.stat().st_mtime)
    left = [stretch for stretch in read(path) if stretch.end is None]
    with path.open("a") as file:
        file.writelines(replace(stretch, end=max(stretch.start, ended)).line() for stretch in left)
