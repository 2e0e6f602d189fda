"""`tonewatch listen URL`: the first minute of a stranger. No server, no set-up: an address, and what it sounds like."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.listen import Listener, Status, Thresholds
from tonewatch.errors import SettingsError, SourceError

FINE, BROKEN, BAD_INPUT = 0, 1, 2
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|min)?")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BAR, _LOWEST = 40, -60.0
_SHOWN_FAULTS = 6


class _View(Protocol):
    """Shows statuses as they come, and what remains at the end."""

    def show(self, status: Status) -> None:
        """The next status."""

    def end(self, summary: dict[str, object]) -> None:
        """What the whole was like."""


def seconds_of(text: str) -> float:
    """`90`, `60s`, `5m`, `1.5h` in seconds. Raises SettingsError."""
    found = _DURATION.fullmatch(text.strip().lower())
    if not found or float(found[1]) <= 0:
        raise SettingsError(f"{text!r} is no duration: write a number and s, m or h, e.g. 60s")
    return float(found[1]) * _UNITS[found[2] or ""]


def run(
    url: str, *, for_seconds: float | None = None, json_output: bool = False, limits: Thresholds | None = None
) -> int:
    """Listen until the sound ends, `for_seconds` have passed or Ctrl-C.

    Returns the exit status: 0 fine, 1 a threshold was broken, 2 nothing to listen to at `url`.
    """
    view: _View
    if json_output:
        view = _JsonLines(sys.stdout)
    elif sys.stdout.isatty():
        view = _Screen()
    else:
        view = _Lines(sys.stdout)
    try:
        return asyncio.run(listen(url, view, seconds=for_seconds, limits=limits or Thresholds()))
    except SourceError as error:
        print(f"tonewatch listen: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # whoever read our lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE


async def listen(url: str, view: _View, *, seconds: float | None, limits: Thresholds) -> int:
    """Show every status of `url` in `view`. Returns 0 or 1; raises SourceError when there is nothing to listen to."""
    listener = Listener(url, limits=limits)
    last: Status | None = None
    statuses = listener.statuses(seconds=seconds, every_s=0.5 if isinstance(view, _Screen) else 1.0)
    async with contextlib.aclosing(statuses):
        with _interruptible() as interrupted:
            while (status := await _next_unless(interrupted, anext(statuses, None))) is not None:
                view.show(status)
                last = status
    view.end(_summary(listener, last))
    return BROKEN if listener.broken else FINE


async def _next_unless(interrupted: asyncio.Event, coming: Awaitable[Status | None]) -> Status | None:
    """The next status; None at the end, or when the person has had enough."""
    status = asyncio.ensure_future(coming)
    stop = asyncio.create_task(interrupted.wait())
    await asyncio.wait({status, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if status.done():
        return status.result()
    status.cancel()
    await asyncio.gather(status, return_exceptions=True)
    return None


@contextlib.contextmanager
def _interruptible() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set, so that the summary is still told."""
    interrupted, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread: no signals
            loop.add_signal_handler(number, interrupted.set)
    try:
        yield interrupted
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(number)


def _summary(listener: Listener, last: Status | None) -> dict[str, object]:
    return {
        "summary": True,
        "url": listener.url,
        "heard_s": round(last.heard_s, 3) if last else 0.0,
        "integrated_lufs": _rounded(last.integrated_lufs) if last else None,
        "range_lu": _rounded(last.range_lu) if last else None,
        "true_peak_dbtp": _rounded(last.true_peak_dbtp) if last else None,
        "longest_silence_s": _rounded(last.longest_silence_s) if last else None,
        "clipped_runs": last.clipped_runs if last else 0,
        "decode_errors": last.decode_errors if last else 0,
        "faults": dict(listener.faults),
        "broken": {name: moment.isoformat() for name, moment in listener.broken.items()},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


class _JsonLines:
    """One JSON object per line, and a last one with `"summary": true`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, status: Status) -> None:
        values = asdict(status)
        values |= {name: round(value, 3) for name, value in values.items() if isinstance(value, float)}
        print(json.dumps(values, default=_as_text, ensure_ascii=False), file=self._out, flush=True)

    def end(self, summary: dict[str, object]) -> None:
        print(json.dumps(summary, ensure_ascii=False), file=self._out, flush=True)


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class _Lines:
    """One plain line a second, and one for each fault."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._title = ""

    def show(self, status: Status) -> None:
        clock = f"{status.time:%H:%M:%S}"
        for fault in status.faults:
            print(f"{clock}  {fault.kind}: {fault.message}", file=self._out)
        if (title := _title(status)) != self._title:
            self._title = title
            print(f"{clock}  now playing: {title}", file=self._out)
        line = "  ".join(f"{name} {value}" for name, value in _figures(status))
        alarm = f"  BROKEN {', '.join(status.broken)}" if status.broken else ""
        print(f"{clock}  {line}{alarm}", file=self._out, flush=True)

    def end(self, summary: dict[str, object]) -> None:
        _print_summary(summary, self._out)


def _print_summary(summary: dict[str, object], out: TextIO) -> None:
    broken, faults = summary["broken"], summary["faults"]
    print(
        f"heard {summary['heard_s']} s: {summary['integrated_lufs']} LUFS, range {summary['range_lu']} LU, "
        f"true peak {summary['true_peak_dbtp']} dBTP, longest silence {summary['longest_silence_s']} s, "
        f"{summary['clipped_runs']} clipped runs, {summary['decode_errors']} decode errors",
        file=out,
    )
    print(f"faults: {_listed(faults) or 'none'}; thresholds broken: {_listed(broken) or 'none'}", file=out, flush=True)


def _listed(found: object) -> str:
    return ", ".join(f"{name} ({value})" for name, value in found.items()) if isinstance(found, dict) else ""


def _title(status: Status) -> str:
    texts = (status.metadata.get(name, "") for name in ("station", "artist", "title"))
    return " - ".join(text for text in texts if text)


def _figures(status: Status) -> Iterator[tuple[str, str]]:
    """What is told of a status, for lines and for the screen."""
    yield "M", f"{status.momentary_lufs:.1f}"
    yield "S", f"{status.short_term_lufs:.1f}"
    yield "I", f"{status.integrated_lufs:.1f} LUFS"
    yield "true peak", f"{status.true_peak_dbtp:.1f} dBTP"
    yield "silence", f"{status.silence_s:.1f} s"
    yield "clipped", str(status.clipped_runs)
    if status.balance_db is not None:
        yield "balance", f"{status.balance_db:+.1f} dB"
    if status.correlation is not None:
        yield "correlation", f"{status.correlation:+.2f}"
    if status.latency_s is not None:
        yield "latency", f"{status.latency_s:.1f} s"
    if status.buffer_s is not None:
        yield "buffer", f"{status.buffer_s:.1f} s"
    yield "overdue", f"{status.overdue_s:.1f} s"
    yield "decode errors", str(status.decode_errors)


class _Screen:
    """A terminal: one panel, redrawn in place."""

    def __init__(self) -> None:
        self._live = Live(console=Console(), auto_refresh=False, transient=False)
        self._faults: list[str] = []

    def show(self, status: Status) -> None:
        if not self._live.is_started:
            self._live.start()
        self._faults += [f"{fault.time:%H:%M:%S}  {fault.kind}: {fault.message}" for fault in status.faults]
        self._faults = self._faults[-_SHOWN_FAULTS:]
        self._live.update(self._panel(status), refresh=True)

    def end(self, summary: dict[str, object]) -> None:
        self._live.stop()
        _print_summary(summary, sys.stdout)

    def _panel(self, status: Status) -> Panel:
        table = Table.grid(padding=(0, 2))
        for name, loudness in (("momentary", status.momentary_lufs), ("short-term", status.short_term_lufs)):
            table.add_row(name, _bar(loudness), f"{loudness:.1f} LUFS")
        table.add_row("integrated", _bar(status.integrated_lufs), f"{status.integrated_lufs:.1f} LUFS")
        for name, value in list(_figures(status))[3:]:
            table.add_row(name, value, "")
        if status.playlist_age_s is not None:
            table.add_row("playlist age", f"{status.playlist_age_s:.1f} s", f"segment {status.sequence}")
        faults = Text("\n".join(self._faults), style="yellow")
        state = Text(f"broken: {', '.join(status.broken)}" if status.broken else "fine")
        state.stylize("bold red" if status.broken else "green")
        title = Text(f"{_title(status) or 'listening'} ({status.codec or status.kind})")
        return Panel(Group(table, state, faults), title=title, expand=False)


def _bar(loudness: float) -> Text:
    filled = round(_BAR * min(1.0, max(0.0, 1 - loudness / _LOWEST)))
    style = "red" if loudness > -9 else "green"
    return Text.assemble(("█" * filled, style), ("░" * (_BAR - filled), "dim"))
