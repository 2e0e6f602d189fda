"""Where notices go: one module per channel, each with one `send(notice)`."""

from __future__ import annotations

from typing import Protocol

from tonewatch.records import Notice


class Channel(Protocol):
    """Something that hands a notice to people."""

    async def send(self, notice: Notice) -> str | None:
        """Hand over; sending the same notice again carries the same id.

        Gives a receipt where the channel can update what it shows: later notices of the incident then carry it.

        Raises ChannelError: it may work later. ChannelRefused: it never will.
        """
        ...


def one_line(text: str, longest: int = 200) -> str:
    """`text` without line ends and control characters, at most `longest` characters: safe in a header or a title."""
    words = "".join(sign if sign.isprintable() else " " for sign in text).split()
    line = " ".join(words)
    return line if len(line) <= longest else line[: longest - 1] + "…"
